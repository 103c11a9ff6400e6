// Four blocks at a time: VAES with AVX-512 (F, BW, DQ, VL) and GFNI.
#if defined(__x86_64__) && defined(MOIETY_VAES)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC before 13 warns about its own AVX-512 headers
#include <immintrin.h>

#include <cstring>

#include "silent.hpp"
#include "symmetric.hpp"

namespace moiety {
namespace {

struct V {
  static constexpr const char* kName = "vaes512";
  static constexpr int kBlocks = 4;
  using Reg = __m512i;

  static Reg load(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store(std::uint8_t* p, Reg x) { _mm512_storeu_si512(p, x); }
  static Reg bcast(const std::uint8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Reg bxor(Reg a, Reg b) { return _mm512_xor_si512(a, b); }
  static Reg band(Reg a, Reg b) { return _mm512_and_si512(a, b); }
  static Reg add64(Reg a, Reg b) { return _mm512_add_epi64(a, b); }
  static Reg set64(std::uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
  static Reg lo64(std::uint64_t x) { return _mm512_maskz_set1_epi64(0x55, static_cast<long long>(x)); }
  static Reg count() { return _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0); }
  static Reg aesenc(Reg a, Reg k) { return _mm512_aesenc_epi128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm512_aesenclast_epi128(a, k); }
  static void interleave(Reg& x, Reg& y) {
    const Reg first = _mm512_permutex2var_epi64(x, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), y);
    y = _mm512_permutex2var_epi64(x, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), y);
    x = first;
  }
  static Reg swap64(Reg x) { return _mm512_shuffle_epi32(x, _MM_PERM_BADC); }
  static Reg high(Reg x) { return _mm512_maskz_mov_epi64(0xaa, x); }
  static Reg equal64(Reg a, Reg b) { return _mm512_movm_epi64(_mm512_cmpeq_epi64_mask(a, b)); }
  static Reg parents(std::uint64_t first) {  // of children first .. first + 3
    return _mm512_add_epi64(set64(first / 2), _mm512_set_epi64(1, 1, 1, 1, 0, 0, 0, 0));
  }
  static __m128i fold(Reg x) {
    const __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  template <int Log>
  static void split(Reg words, Reg size, std::uint32_t* offsets, std::uint32_t* coefficients) {
    const Reg fifteen = set64(15);
    const Reg even = _mm512_mul_epu32(words, size), odd = _mm512_mul_epu32(_mm512_srli_epi64(words, 32), size);
    const Reg even_c = _mm512_mul_epu32(even, fifteen), odd_c = _mm512_mul_epu32(odd, fifteen);
    const Reg position = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
    const Reg c = _mm512_mask_mov_epi32(_mm512_srli_epi64(even_c, 32), 0xaaaa, odd_c);
    _mm512_storeu_si512(offsets, _mm512_slli_epi32(position, Log));
    _mm512_storeu_si512(coefficients, _mm512_add_epi32(c, _mm512_set1_epi32(1)));
  }
  static void products(const std::uint8_t* seeds, const std::uint32_t* offsets, const std::uint32_t* coefficients,
                       std::uint32_t* sums) {
    Reg sum = _mm512_setzero_si512();
    for (int j = 0; j < moiety::kDegree; j++) {
      Reg x = _mm512_i32gather_epi32(_mm512_loadu_si512(offsets + 16 * j), seeds, 1);  // reads 3 bytes too many
      const Reg c = _mm512_loadu_si512(coefficients + 16 * j);
      for (int bit = 0; bit < 4; bit++) {
        sum = _mm512_mask_xor_epi32(sum, _mm512_test_epi32_mask(c, _mm512_set1_epi32(1 << bit)), sum, x);
        x = _mm512_add_epi32(x, x);
      }
    }
    _mm512_storeu_si512(sums, sum);  // low bytes count
  }

  // A nibble times c is a linear map of its bits: one 8x8 matrix for both nibbles of every byte.
  class Scale {
   public:
    Scale() {
      alignas(64) std::uint64_t matrices[16];
      for (unsigned c = 0; c < 16; c++) {
        std::uint64_t matrix = 0;  // row of output bit i is byte 7 - i
        for (unsigned in = 0, image = c; in < 4; in++, image = (image << 1) ^ (image >> 3 & 1) * 0x13) {
          for (unsigned out = 0; out < 4; out++) {
            const std::uint64_t bit = image >> out & 1;
            matrix |= bit << (8 * (7 - out) + in) | bit << (8 * (3 - out) + in + 4);
          }
        }
        matrices[c] = matrix;
      }
      low_ = _mm512_load_si512(matrices);
      high_ = _mm512_load_si512(matrices + 8);
    }
    Reg operator()(const std::uint8_t* seeds, const std::uint32_t* offsets, const std::uint32_t* coefficients) const {
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

#include "silent_kernels.hpp"

const moiety::SilentOps& moiety::silent_vaes512() { return kOps; }
#endif
