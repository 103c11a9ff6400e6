// Arithmetic modulo primes below 2^30 for the loops of reference/rlwe.py's kernels: no branch and
// no division on a secret. Internal linkage: the linker must not merge copies made with other
// flags.
#pragma once

#include <algorithm>

#include "common.hpp"

namespace moiety {

inline constexpr int kMaxPrimes = 8;
inline constexpr u32 kPrimeLimit = 1u << 30;  // lazy butterflies hold values below 4p

namespace {

// w * y mod p in [0, 2p) for any 32-bit y; shoup = floor(2^32 w / p) (Shoup; Harvey 2014).
inline u32 times_lazy(u32 y, u32 w, u32 shoup, u32 p) {
  const u32 quotient = static_cast<u32>((static_cast<u64>(y) * shoup) >> 32);
  return y * w - quotient * p;
}

// Of public w: division takes a time that depends on its operands.
inline u32 shoup_of(u32 w, u32 p) { return static_cast<u32>((static_cast<u64>(w) << 32) / p); }

// x - p if that is not negative: one conditional subtraction without a branch.
inline u32 less(u32 x, u32 p) { return std::min(x, x - p); }

// v mod p for |v| < 2^62: the float64 quotient is off by at most one.
inline u32 reduce_signed(i64 v, i64 p, double inverse) {
  const i64 quotient = static_cast<i64>(static_cast<double>(v) * inverse);
  i64 r = v - quotient * p;
  r += p & (r >> 63);
  r += p & (r >> 63);
  r -= p;
  r += p & (r >> 63);
  return static_cast<u32>(r);
}

// floor(y * 2^32 / p) and the remainder, y < p < 2^30.
inline u64 divide32(u64 y, i64 p, double reciprocal, u64& rest) {
  const i64 shifted = static_cast<i64>(y << 32);
  i64 quotient = static_cast<i64>(static_cast<double>(shifted) * reciprocal);
  i64 r = shifted - quotient * p;
  const i64 below = r >> 63;  // -1 where the quotient is one too large
  quotient += below;
  r += p & below;
  const i64 above = ~((r - p) >> 63);  // -1 where it is one too small
  quotient -= above;
  r -= p & above;
  rest = static_cast<u64>(r);
  return static_cast<u64>(quotient);
}

}  // namespace
}  // namespace moiety
