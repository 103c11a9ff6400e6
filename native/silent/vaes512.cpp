// The loops of the silent-VOLE kernels (reference/silent.py). Four blocks at a time: VAES with
// AVX-512 (F, BW, DQ, VL) and GFNI.
#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector/vaes512.hpp"
#include "field.hpp"

namespace moiety {
namespace {

struct V : Vector {
  static Reg swap64(Reg x) { return _mm512_shuffle_epi32(x, _MM_PERM_BADC); }
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
  static Reg add32(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  static Reg odd32(Reg x, Reg y) { return _mm512_mask_mov_epi32(x, 0xaaaa, y); }
  template <int Shift>
  static Reg left32(Reg x) {
    return _mm512_slli_epi32(x, Shift);
  }

  template <int Terms>
  static void products(const u8* seeds, const u32* offsets, const u32* coefficients, u32* sums) {
    Reg sum = _mm512_setzero_si512();
    for (int j = 0; j < Terms; j++) {
      // Reads 3 bytes too many: see kSeedSlack.
      Reg x = _mm512_i32gather_epi32(_mm512_loadu_si512(offsets + 16 * j), seeds, 1);
      const Reg c = _mm512_loadu_si512(coefficients + 16 * j);
      for (int bit = 0; bit < 4; bit++) {
        sum = _mm512_mask_xor_epi32(sum, _mm512_test_epi32_mask(c, _mm512_set1_epi32(1 << bit)),
                                    sum, x);
        x = _mm512_add_epi32(x, x);
      }
    }
    _mm512_storeu_si512(sums, sum);  // low bytes count
  }

  // A nibble times c is a linear map of its bits: one 8x8 matrix for both nibbles of every byte.
  class Scale {
   public:
    Scale() {
      alignas(64) u64 matrices[16];
      for (unsigned c = 0; c < 16; c++) {
        u64 matrix = 0;  // row of output bit i is byte 7 - i
        for (unsigned in = 0, image = c; in < 4; in++, image = times_x(image)) {
          for (unsigned out = 0; out < 4; out++) {
            const u64 bit = image >> out & 1;
            matrix |= bit << (8 * (7 - out) + in) | bit << (8 * (3 - out) + in + 4);
          }
        }
        matrices[c] = matrix;
      }
      low_ = _mm512_load_si512(matrices);
      high_ = _mm512_load_si512(matrices + 8);
    }
    Reg operator()(const u8* seeds, const u32* offsets, const u32* coefficients) const {
      const auto block = [seeds, offsets](int i) __attribute__((always_inline)) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(seeds + offsets[i]));
      };
      Reg x = _mm512_castsi128_si512(block(0));
      x = _mm512_inserti32x4(x, block(1), 1);
      x = _mm512_inserti32x4(x, block(2), 2);
      x = _mm512_inserti32x4(x, block(3), 3);
      const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(coefficients));
      const Reg spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
      const Reg index = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(four));
      return _mm512_gf2p8affine_epi64_epi8(x, _mm512_permutex2var_epi64(low_, index, high_), 0);
    }

   private:
    Reg low_, high_;
  };
};

}  // namespace
}  // namespace moiety

#define MOIETY_LOOPS
#include "silent/family.hpp"

const moiety::SilentKernels& moiety::silent_vaes512() { return kKernels; }
#endif
