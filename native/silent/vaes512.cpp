// The loops of the silent-VOLE kernels (reference/silent.py). Four blocks at a time: VAES with
// AVX-512 (F, BW, DQ, VL) and GFNI.
#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector/vaes512.hpp"

namespace moiety {
namespace {

struct V : Vector {
  static Reg high(Reg x) { return _mm512_maskz_mov_epi64(0xaa, x); }
  static Reg parents(u64 first) {  // of children first .. first + 3
    return _mm512_add_epi64(set64(first / 2), _mm512_set_epi64(1, 1, 1, 1, 0, 0, 0, 0));
  }
  static __m128i fold(Reg x) {
    const __m256i half =
        _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  static Reg times32(Reg a, Reg b) { return _mm512_mul_epu32(a, b); }
  static Reg odd32(Reg x, Reg y) { return _mm512_mask_mov_epi32(x, 0xaaaa, y); }
  template <int Shift>
  static Reg left32(Reg x) {
    return _mm512_slli_epi32(x, Shift);
  }

  using Pair = __m256i;
  using Vector::bxor;
  static Pair load_pair(const u8* p) { return Lanes<2>::load(p); }
  static Pair bxor(Pair x, Pair y) { return _mm256_xor_si256(x, y); }
  static __m128i first(Pair x) { return _mm256_castsi256_si128(x); }
  static __m128i second(Pair x) { return _mm256_extracti128_si256(x, 1); }

  // Nibble by nibble, a linear map of the bits of a byte. The row of output bit i is byte 7 - i:
  // bit 0 comes from bit 3, bit 1 from bits 0 and 3, bit 2 from bit 1, bit 3 from bit 2.
  static __m128i times_x(__m128i x) {
    return _mm_gf2p8affine_epi64_epi8(x, _mm_set1_epi64x(kTimesX), 0);
  }
  static Pair times_x(Pair x) {
    return _mm256_gf2p8affine_epi64_epi8(x, _mm256_set1_epi64x(kTimesX), 0);
  }
  static Reg times_x(Reg x) { return _mm512_gf2p8affine_epi64_epi8(x, set64(kTimesX), 0); }

 private:
  static constexpr i64 kTimesX = 0x0809020480902040;
};

}  // namespace
}  // namespace moiety

#define MOIETY_LOOPS
#include "silent/family.hpp"

const moiety::SilentKernels& moiety::silent_vaes512() { return kKernels; }
#endif
