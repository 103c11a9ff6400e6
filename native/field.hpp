// F_16 = F_2[X]/(X^4 + X + 1), an element a nibble; reference/field.py specifies it.
#pragma once

#include <cstring>

#include "common.hpp"

// Internal linkage: this header is compiled with different instruction sets, and the linker must
// not merge the copies.
namespace moiety {
namespace {

// An element times X.
MOIETY_INLINE unsigned times_x(unsigned a) { return (a << 1) ^ (a >> 3 & 1) * 0x13; }

// x * delta, nibble by nibble, for x < 2^k. `delta` may be secret, x indexes memory: it is public.
struct Multiples {
  alignas(64) u8 block[16][16];

  Multiples(const u8* delta, int k) {
    std::memset(block[0], 0, 16);
    u8 power[16];
    std::memcpy(power, delta, 16);
    for (int j = 0; j < k; j++) {
      for (int x = 1 << j; x < 2 << j; x++) {
        for (int c = 0; c < 16; c++) block[x][c] = block[x - (1 << j)][c] ^ power[c];
      }
      for (int c = 0; c < 16; c++) power[c] = (power[c] << 1 & 0xee) ^ (power[c] >> 3 & 0x11) * 3;
    }
  }
};

}  // namespace
}  // namespace moiety
