// The loops of the silent-VOLE kernels (reference/silent.py). One block at a time: AES-NI with
// SSE4.1, the baseline of the compiled kernels.
#if defined(__x86_64__)
#include "vector/aesni.hpp"
#include "field.hpp"

namespace moiety {
namespace {

struct V : Vector {
  static Reg swap64(Reg x) { return _mm_shuffle_epi32(x, 0x4e); }
  static Reg high(Reg x) { return _mm_and_si128(x, _mm_set_epi64x(-1, 0)); }
  static Reg parents(u64 first) { return set64(first / 2); }
  static __m128i fold(Reg x) { return x; }

  static Reg times32(Reg a, Reg b) { return _mm_mul_epu32(a, b); }
  static Reg add32(Reg a, Reg b) { return _mm_add_epi32(a, b); }
  static Reg odd32(Reg x, Reg y) { return _mm_blend_epi16(x, y, 0xcc); }
  template <int Shift>
  static Reg left32(Reg x) {
    return _mm_slli_epi32(x, Shift);
  }

  template <int Terms>
  static void products(const u8* seeds, const u32* offsets, const u32* coefficients, u32* sums) {
    u32 sum[16] = {}, x[16];
    for (int j = 0; j < Terms; j++) {
      for (int r = 0; r < 16; r++) x[r] = seeds[offsets[16 * j + r]];
      for (int r = 0; r < 16; r++) {
        const u32 c = coefficients[16 * j + r];
        sum[r] ^= (x[r] & -(c & 1)) ^ (x[r] << 1 & -(c >> 1 & 1));
        sum[r] ^= (x[r] << 2 & -(c >> 2 & 1)) ^ (x[r] << 3 & -(c >> 3));
      }
    }
    std::memcpy(sums, sum, sizeof sum);
  }

  // Products by a public element, looked up in the register: both nibbles of a byte have a table of
  // 16 bytes.
  class Scale {
   public:
    Scale() {
      for (unsigned c = 0; c < 16; c++) {
        for (unsigned x = 0; x < 16; x++) {
          unsigned product = 0;
          for (unsigned bit = 0, power = c; bit < 4; bit++, power = times_x(power))
            product ^= (x >> bit & 1) * power;
          low_[c][x] = static_cast<u8>(product);
          high_[c][x] = static_cast<u8>(product << 4);
        }
      }
    }
    Reg operator()(const u8* seeds, const u32* offsets, const u32* coefficients) const {
      const Reg block = load(seeds + *offsets), nibble = _mm_set1_epi8(15);
      const Reg low = _mm_and_si128(block, nibble),
                high = _mm_and_si128(_mm_srli_epi16(block, 4), nibble);
      return bxor(_mm_shuffle_epi8(load(low_[*coefficients]), low),
                  _mm_shuffle_epi8(load(high_[*coefficients]), high));
    }

   private:
    alignas(16) u8 low_[16][16], high_[16][16];
  };
};

}  // namespace
}  // namespace moiety

#define MOIETY_LOOPS
#include "silent/family.hpp"

const moiety::SilentKernels& moiety::silent_aesni() { return kKernels; }
#endif
