// One block at a time: AES-NI with SSE4.1, the baseline of the compiled kernels.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "silent.hpp"
#include "symmetric.hpp"

namespace moiety {
namespace {

struct V {
  static constexpr const char* kName = "aesni";
  static constexpr int kBlocks = 1;
  using Reg = __m128i;

  static Reg load(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const Reg*>(p)); }
  static void store(std::uint8_t* p, Reg x) { _mm_storeu_si128(reinterpret_cast<Reg*>(p), x); }
  static Reg bcast(const std::uint8_t* p) { return load(p); }
  static Reg bxor(Reg a, Reg b) { return _mm_xor_si128(a, b); }
  static Reg band(Reg a, Reg b) { return _mm_and_si128(a, b); }
  static Reg add64(Reg a, Reg b) { return _mm_add_epi64(a, b); }
  static Reg set64(std::uint64_t x) { return _mm_set1_epi64x(static_cast<long long>(x)); }
  static Reg lo64(std::uint64_t x) { return _mm_cvtsi64_si128(static_cast<long long>(x)); }
  static Reg count() { return _mm_setzero_si128(); }
  static Reg aesenc(Reg a, Reg k) { return _mm_aesenc_si128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm_aesenclast_si128(a, k); }
  static void interleave(Reg&, Reg&) {}
  static Reg swap64(Reg x) { return _mm_shuffle_epi32(x, 0x4e); }
  static Reg high(Reg x) { return _mm_and_si128(x, _mm_set_epi64x(-1, 0)); }
  static Reg equal64(Reg a, Reg b) { return _mm_cmpeq_epi64(a, b); }
  static Reg parents(std::uint64_t first) { return set64(first / 2); }
  static __m128i fold(Reg x) { return x; }

  template <int Log>
  static void split(Reg words, Reg size, std::uint32_t* offsets, std::uint32_t* coefficients) {
    const Reg fifteen = set64(15);
    const Reg even = _mm_mul_epu32(words, size), odd = _mm_mul_epu32(_mm_srli_epi64(words, 32), size);
    const Reg even_c = _mm_mul_epu32(even, fifteen), odd_c = _mm_mul_epu32(odd, fifteen);
    const Reg position = _mm_blend_epi16(_mm_srli_epi64(even, 32), odd, 0xcc);
    const Reg c = _mm_blend_epi16(_mm_srli_epi64(even_c, 32), odd_c, 0xcc);
    _mm_storeu_si128(reinterpret_cast<Reg*>(offsets), _mm_slli_epi32(position, Log));
    _mm_storeu_si128(reinterpret_cast<Reg*>(coefficients), _mm_add_epi32(c, _mm_set1_epi32(1)));
  }
  static void products(const std::uint8_t* seeds, const std::uint32_t* offsets, const std::uint32_t* coefficients,
                       std::uint32_t* sums) {
    std::uint32_t sum[16] = {}, x[16];
    for (int j = 0; j < moiety::kDegree; j++) {
      for (int r = 0; r < 16; r++) x[r] = seeds[offsets[16 * j + r]];
      for (int r = 0; r < 16; r++) {
        const std::uint32_t c = coefficients[16 * j + r];
        sum[r] ^= (x[r] & -(c & 1)) ^ (x[r] << 1 & -(c >> 1 & 1));
        sum[r] ^= (x[r] << 2 & -(c >> 2 & 1)) ^ (x[r] << 3 & -(c >> 3));
      }
    }
    std::memcpy(sums, sum, sizeof sum);
  }

  // Products by a public element, looked up in the register: both nibbles of a byte have a table of 16 bytes.
  class Scale {
   public:
    Scale() {
      for (unsigned c = 0; c < 16; c++) {
        for (unsigned x = 0; x < 16; x++) {
          unsigned product = 0;
          for (unsigned bit = 0, power = c; bit < 4; bit++, power = (power << 1) ^ (power >> 3 & 1) * 0x13)
            product ^= (x >> bit & 1) * power;
          low_[c][x] = static_cast<std::uint8_t>(product);
          high_[c][x] = static_cast<std::uint8_t>(product << 4);
        }
      }
    }
    Reg operator()(const std::uint8_t* seeds, const std::uint32_t* offsets, const std::uint32_t* coefficients) const {
      const Reg block = load(seeds + *offsets), nibble = _mm_set1_epi8(15);
      const Reg low = _mm_and_si128(block, nibble), high = _mm_and_si128(_mm_srli_epi16(block, 4), nibble);
      return bxor(_mm_shuffle_epi8(load(low_[*coefficients]), low), _mm_shuffle_epi8(load(high_[*coefficients]), high));
    }

   private:
    alignas(16) std::uint8_t low_[16][16], high_[16][16];
  };
};

}  // namespace
}  // namespace moiety

#include "silent_kernels.hpp"

const moiety::SilentOps& moiety::silent_aesni() { return kOps; }
#endif
