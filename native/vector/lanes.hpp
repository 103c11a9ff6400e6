// What is the same for a register of any width: `Lanes<B>` holds B blocks of 128 bits, as 64-bit
// words, and its operations are those of the compiler's own vectors. The instruction sets derive
// their `Vector` from it and add what needs an instruction of its own.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "common.hpp"

// Internal linkage: this header is compiled with different instruction sets, and the linker must
// not merge the copies.
namespace moiety {
namespace {

template <int Blocks>
struct Register;
template <>
struct Register<1> {
  using Type = __m128i;
};
template <>
struct Register<2> {
  using Type = __m256i;
};
template <>
struct Register<4> {
  using Type = __m512i;
};

template <int Blocks>
struct Lanes {
  static constexpr int kBlocks = Blocks;
  static constexpr int kBytes = 16 * Blocks;
  static constexpr bool kReversed = false;  // see `transpose8x8`
  using Reg = typename Register<Blocks>::Type;
  using Anywhere [[gnu::aligned(1), gnu::may_alias]] = Reg;  // in memory: no alignment asked
  using Words [[gnu::vector_size(kBytes)]] = u64;

  static Reg load(const void* p) { return *static_cast<const Anywhere*>(p); }
  static void store(void* p, Reg x) { *static_cast<Anywhere*>(p) = x; }
  static Reg bxor(Reg a, Reg b) { return a ^ b; }
  static Reg xor3(Reg a, Reg b, Reg c) { return a ^ b ^ c; }
  static Reg band(Reg a, Reg b) { return a & b; }
  static Reg add64(Reg a, Reg b) { return Reg(Words(a) + Words(b)); }
  static Reg equal64(Reg a, Reg b) { return Reg(a == b); }
  template <int Shift>
  static Reg right64(Reg x) {
    return Reg(Words(x) >> Shift);
  }
  template <int Shift>
  static Reg left64(Reg x) {
    return Reg(Words(x) << Shift);
  }

  // Transposes the 8x8 bits of every 8 bytes. Where kReversed, an instruction set has its own,
  // which takes the rows last to first.
  static Reg transpose8x8(Reg x) {
    x = swap_bits<7>(x, 0x00aa00aa00aa00aaull);
    x = swap_bits<14>(x, 0x0000cccc0000ccccull);
    return swap_bits<28>(x, 0x00000000f0f0f0f0ull);
  }

 private:
  template <int Shift>
  static Reg swap_bits(Reg x, u64 mask) {
    const Reg t = band(bxor(x, right64<Shift>(x)), Reg(Words{} + mask));
    return xor3(x, t, left64<Shift>(t));
  }
};

}  // namespace
}  // namespace moiety
