// Two blocks at a time: VAES with AVX2, for processors without AVX-512. What the functions mean is
// said in vector/aes.hpp.
#pragma once

#include "vector/lanes.hpp"

namespace moiety {
namespace {

struct Vector : Lanes<2> {
  static constexpr const char* kName = "vaes256";

  static Reg bcast(const u8* p) { return _mm256_broadcastsi128_si256(Lanes<1>::load(p)); }
  static Reg set64(u64 x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
  static Reg lo64(u64 x) {
    return _mm256_broadcastsi128_si256(_mm_cvtsi64_si128(static_cast<long long>(x)));
  }
  static Reg count() { return _mm256_set_epi64x(0, 1, 0, 0); }
  static Reg aesenc(Reg a, Reg k) { return _mm256_aesenc_epi128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm256_aesenclast_epi128(a, k); }
  static Reg unpack_lo8(Reg a, Reg b) { return _mm256_unpacklo_epi8(a, b); }
  static Reg unpack_hi8(Reg a, Reg b) { return _mm256_unpackhi_epi8(a, b); }

  static Reg unpack_lo64(Reg a, Reg b) { return _mm256_unpacklo_epi64(a, b); }
  static Reg unpack_hi64(Reg a, Reg b) { return _mm256_unpackhi_epi64(a, b); }
  static Reg swap64(Reg x) { return _mm256_shuffle_epi32(x, 0x4e); }
  static Reg shuffle8(Reg x, Reg at) { return _mm256_shuffle_epi8(x, at); }
  template <int Halves>
  static Reg clmul(Reg a, Reg b) {
    return _mm256_clmulepi64_epi128(a, b, Halves);
  }

  template <int Stride>
  static Reg load_lanes(const u8* p) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(Lanes<1>::load(p)),
                                   Lanes<1>::load(p + Stride), 1);
  }
  template <int Stride>
  static void store_lanes(u8* p, Reg x) {
    Lanes<1>::store(p, _mm256_castsi256_si128(x));
    Lanes<1>::store(p + Stride, _mm256_extracti128_si256(x, 1));
  }
  static void interleave(Reg& x, Reg& y) {
    const Reg first = _mm256_permute2x128_si256(x, y, 0x20);
    y = _mm256_permute2x128_si256(x, y, 0x31);
    x = first;
  }
  static void even_odd(Reg& x, Reg& y) { interleave(x, y); }
  template <int K>
  static Reg spread(const u8* p) {
    if constexpr (K == 1) return load(p);
    return bcast(p);
  }
  static void store_low64(u8* p, Reg x, Reg y) { store(p, _mm256_unpacklo_epi64(x, y)); }
  static void store_low8(u8* p, Reg x, Reg y) {
    const Reg pairs = _mm256_unpacklo_epi8(x, y);
    const __m128i four =
        _mm_unpacklo_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const int bytes = _mm_cvtsi128_si32(four);
    std::memcpy(p, &bytes, 4);
  }
};

}  // namespace
}  // namespace moiety
