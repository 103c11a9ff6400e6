// Four blocks at a time: VAES with AVX-512 (F, BW, DQ, VL, VBMI) and GFNI. What the functions mean
// is said in vector/aes.hpp.
#pragma once

#include "vector/lanes.hpp"

namespace moiety {
namespace {

struct Vector : Lanes<4> {
  static constexpr const char* kName = "vaes512";
  static constexpr bool kReversed = true;

  static Reg bcast(const u8* p) { return _mm512_broadcast_i32x4(Lanes<1>::load(p)); }
  static Reg set64(u64 x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
  static Reg lo64(u64 x) { return _mm512_maskz_set1_epi64(0x55, static_cast<long long>(x)); }
  static Reg count() { return _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0); }
  static Reg xor3(Reg a, Reg b, Reg c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
  static Reg aesenc(Reg a, Reg k) { return _mm512_aesenc_epi128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm512_aesenclast_epi128(a, k); }
  static Reg unpack_lo8(Reg a, Reg b) { return _mm512_unpacklo_epi8(a, b); }
  static Reg unpack_hi8(Reg a, Reg b) { return _mm512_unpackhi_epi8(a, b); }

  static Reg unpack_lo64(Reg a, Reg b) { return _mm512_unpacklo_epi64(a, b); }
  static Reg unpack_hi64(Reg a, Reg b) { return _mm512_unpackhi_epi64(a, b); }
  static Reg swap64(Reg x) { return _mm512_shuffle_epi32(x, _MM_PERM_BADC); }
  static Reg shuffle8(Reg x, Reg at) { return _mm512_shuffle_epi8(x, at); }
  template <int Halves>
  static Reg clmul(Reg a, Reg b) {
    return _mm512_clmulepi64_epi128(a, b, Halves);
  }

  // The affine map takes its matrix rows from the highest byte down, hence kReversed; its argument,
  // the unit vectors, reads off the columns.
  static Reg transpose8x8(Reg x) {
    return _mm512_gf2p8affine_epi64_epi8(set64(0x8040201008040201ull), x, 0);
  }

  template <int Stride>
  static Reg load_lanes(const u8* p) {
    const Reg low = _mm512_inserti32x4(_mm512_castsi128_si512(Lanes<1>::load(p)),
                                       Lanes<1>::load(p + Stride), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(low, Lanes<1>::load(p + 2 * Stride), 2),
                              Lanes<1>::load(p + 3 * Stride), 3);
  }
  template <int Stride>
  static void store_lanes(u8* p, Reg x) {
    Lanes<1>::store(p, _mm512_castsi512_si128(x));
    Lanes<1>::store(p + Stride, _mm512_extracti32x4_epi32(x, 1));
    Lanes<1>::store(p + 2 * Stride, _mm512_extracti32x4_epi32(x, 2));
    Lanes<1>::store(p + 3 * Stride, _mm512_extracti32x4_epi32(x, 3));
  }
  static void interleave(Reg& x, Reg& y) {
    const Reg first = _mm512_permutex2var_epi64(x, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), y);
    y = _mm512_permutex2var_epi64(x, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), y);
    x = first;
  }
  static void even_odd(Reg& x, Reg& y) {
    const Reg even = _mm512_shuffle_i64x2(x, y, 0x88);
    y = _mm512_shuffle_i64x2(x, y, 0xdd);
    x = even;
  }
  template <int K>
  static Reg spread(const u8* p) {
    if constexpr (K == 1) return load(p);
    if constexpr (K == 2) {
      const __m256i two = Lanes<2>::load(p);
      return _mm512_permutexvar_epi64(_mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0),
                                      _mm512_castsi256_si512(two));
    }
    return bcast(p);
  }
  static void store_low64(u8* p, Reg x, Reg y) { store(p, _mm512_unpacklo_epi64(x, y)); }
  static void store_low8(u8* p, Reg x, Reg y) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p),
                     _mm512_cvtepi64_epi8(_mm512_unpacklo_epi64(x, y)));
  }
};

}  // namespace
}  // namespace moiety
