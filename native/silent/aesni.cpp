// The loops of the silent-VOLE kernels (reference/silent.py). One block at a time: AES-NI with
// SSE4.1, the baseline of the compiled kernels.
#if defined(__x86_64__)
#include "vector/aesni.hpp"

namespace moiety {
namespace {

struct V : Vector {
  static Reg high(Reg x) { return _mm_and_si128(x, _mm_set_epi64x(-1, 0)); }
  static Reg parents(u64 first) { return set64(first / 2); }
  static __m128i fold(Reg x) { return x; }

  static Reg times32(Reg a, Reg b) { return _mm_mul_epu32(a, b); }
  static Reg odd32(Reg x, Reg y) { return _mm_blend_epi16(x, y, 0xcc); }
  template <int Shift>
  static Reg left32(Reg x) {
    return _mm_slli_epi32(x, Shift);
  }

  struct Pair {
    __m128i block[2];
  };
  using Vector::bxor;
  static Pair load_pair(const u8* p) { return {load(p), load(p + 16)}; }
  static Pair bxor(Pair x, Pair y) {
    return {bxor(x.block[0], y.block[0]), bxor(x.block[1], y.block[1])};
  }
  static __m128i first(Pair x) { return x.block[0]; }
  static __m128i second(Pair x) { return x.block[1]; }

  // Nibble by nibble.
  static __m128i times_x(__m128i x) {
    const __m128i doubled =
        _mm_and_si128(_mm_add_epi8(x, x), _mm_set1_epi8(static_cast<char>(0xee)));
    const __m128i carry = _mm_and_si128(_mm_srli_epi64(x, 3), _mm_set1_epi8(0x11));
    return _mm_xor_si128(doubled, _mm_xor_si128(carry, _mm_add_epi8(carry, carry)));
  }
  static Pair times_x(Pair x) { return {times_x(x.block[0]), times_x(x.block[1])}; }
};

}  // namespace
}  // namespace moiety

#define MOIETY_LOOPS
#include "silent/family.hpp"

const moiety::SilentKernels& moiety::silent_aesni() { return kKernels; }
#endif
