// One block at a time: AES-NI with SSE4.1, the baseline of the compiled kernels. What the functions
// mean is said in vector/aes.hpp.
#pragma once

#include "vector/lanes.hpp"

namespace moiety {
namespace {

struct Vector : Lanes<1> {
  static constexpr const char* kName = "aesni";

  static Reg bcast(const u8* p) { return load(p); }
  static Reg set64(u64 x) { return _mm_set1_epi64x(static_cast<long long>(x)); }
  static Reg lo64(u64 x) { return _mm_cvtsi64_si128(static_cast<long long>(x)); }
  static Reg count() { return _mm_setzero_si128(); }
  static Reg aesenc(Reg a, Reg k) { return _mm_aesenc_si128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm_aesenclast_si128(a, k); }
  static Reg unpack_lo8(Reg a, Reg b) { return _mm_unpacklo_epi8(a, b); }
  static Reg unpack_hi8(Reg a, Reg b) { return _mm_unpackhi_epi8(a, b); }

  static Reg unpack_lo64(Reg a, Reg b) { return _mm_unpacklo_epi64(a, b); }
  static Reg unpack_hi64(Reg a, Reg b) { return _mm_unpackhi_epi64(a, b); }
  static Reg swap64(Reg x) { return _mm_shuffle_epi32(x, 0x4e); }
  static Reg shuffle8(Reg x, Reg at) { return _mm_shuffle_epi8(x, at); }
  template <int Halves>
  static Reg clmul(Reg a, Reg b) {
    return _mm_clmulepi64_si128(a, b, Halves);
  }

  template <int Stride>
  static Reg load_lanes(const u8* p) {
    return load(p);
  }
  template <int Stride>
  static void store_lanes(u8* p, Reg x) {
    store(p, x);
  }
  static void interleave(Reg&, Reg&) {}
  static void even_odd(Reg&, Reg&) {}
  template <int K>
  static Reg spread(const u8* p) {
    return load(p);
  }
  static void store_low64(u8* p, Reg x, Reg y) { store(p, _mm_unpacklo_epi64(x, y)); }
  static void store_low8(u8* p, Reg x, Reg y) {
    p[0] = static_cast<u8>(_mm_cvtsi128_si32(x));
    p[1] = static_cast<u8>(_mm_cvtsi128_si32(y));
  }
};

}  // namespace
}  // namespace moiety
