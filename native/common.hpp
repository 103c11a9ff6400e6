// Names of the integers and two hints to the compiler, for every native file. Nothing here has a
// symbol, so it may be included where code is compiled for one instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#define MOIETY_UNROLL _Pragma("GCC unroll 16")
#define MOIETY_INLINE inline __attribute__((always_inline))
#define MOIETY_NOINLINE __attribute__((noinline))

namespace moiety {

using i8 = std::int8_t;
using i16 = std::int16_t;
using i64 = std::int64_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

MOIETY_INLINE constexpr std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

// Elements from `start` to before `stop`; number `index` of the ranges of its call.
struct Range {
  std::size_t start, stop, index;

  MOIETY_INLINE std::size_t size() const { return stop - start; }
};

}  // namespace moiety
