// One block at a time: AES-NI with SSE4.1, the baseline of the compiled kernels. See symmetric_kernels.hpp.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace moiety {
namespace {

struct Vector {
  static constexpr const char* kName = "aesni";
  static constexpr int kBlocks = 1;
  static constexpr bool kReversed = false;
  using Reg = __m128i;

  static Reg load(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const Reg*>(p)); }
  static void store(std::uint8_t* p, Reg x) { _mm_storeu_si128(reinterpret_cast<Reg*>(p), x); }
  static Reg bcast(const std::uint8_t* p) { return load(p); }
  static Reg bxor(Reg a, Reg b) { return _mm_xor_si128(a, b); }
  static Reg xor3(Reg a, Reg b, Reg c) { return bxor(a, bxor(b, c)); }
  static Reg band(Reg a, Reg b) { return _mm_and_si128(a, b); }
  static Reg add64(Reg a, Reg b) { return _mm_add_epi64(a, b); }
  static Reg set64(std::uint64_t x) { return _mm_set1_epi64x(static_cast<long long>(x)); }
  static Reg lo64(std::uint64_t x) { return _mm_cvtsi64_si128(static_cast<long long>(x)); }
  static Reg count() { return _mm_setzero_si128(); }
  static Reg aesenc(Reg a, Reg k) { return _mm_aesenc_si128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm_aesenclast_si128(a, k); }
  static Reg unpack_lo8(Reg a, Reg b) { return _mm_unpacklo_epi8(a, b); }
  static Reg unpack_hi8(Reg a, Reg b) { return _mm_unpackhi_epi8(a, b); }

  template <int Shift>
  static Reg swap_bits(Reg x, std::uint64_t mask) {
    const Reg t = band(bxor(x, _mm_srli_epi64(x, Shift)), set64(mask));
    return xor3(x, t, _mm_slli_epi64(t, Shift));
  }
  static Reg transpose8x8(Reg x) {
    x = swap_bits<7>(x, 0x00aa00aa00aa00aaull);
    x = swap_bits<14>(x, 0x0000cccc0000ccccull);
    return swap_bits<28>(x, 0x00000000f0f0f0f0ull);
  }

  template <int Stride>
  static void store_lanes(std::uint8_t* p, Reg x) {
    store(p, x);
  }
  static void interleave(Reg&, Reg&) {}
  static void even_odd(Reg&, Reg&) {}
  template <int K>
  static Reg spread(const std::uint8_t* p) {
    return load(p);
  }
  static void store_low64(std::uint8_t* p, Reg x, Reg y) { store(p, _mm_unpacklo_epi64(x, y)); }
  static void store_low8(std::uint8_t* p, Reg x, Reg y) {
    p[0] = static_cast<std::uint8_t>(_mm_cvtsi128_si32(x));
    p[1] = static_cast<std::uint8_t>(_mm_cvtsi128_si32(y));
  }
};

}  // namespace
}  // namespace moiety
