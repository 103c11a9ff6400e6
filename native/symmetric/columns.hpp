// A universal hash of columns. reference/columns.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#include "symmetric/vole.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// `width` is 1 or 16 bytes a row; hash: 8*width blocks.
struct ColumnKernels {
  void (*column_hash)(const u8* rows, std::size_t n, std::size_t width, const u8* point, u8* hash);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr int kHashed = 32;  // blocks of 128 rows that are multiplied before one reduction
constexpr int kHashedBytes = 16 * kHashed;

MOIETY_INLINE __m128i clmul_low(__m128i a, __m128i b) { return _mm_clmulepi64_si128(a, b, 0x00); }

// A product of 256 bits, modulo z^128 + z^7 + z^2 + z + 1.
MOIETY_INLINE __m128i reduced(__m128i low, __m128i middle, __m128i high) {
  const __m128i modulus = _mm_cvtsi32_si128(0x87);
  low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
  high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
  const __m128i upper = clmul_low(_mm_srli_si128(high, 8), modulus);  // times z^64
  low = _mm_xor_si128(low, clmul_low(high, modulus));
  low = _mm_xor_si128(low, _mm_slli_si128(upper, 8));
  return _mm_xor_si128(low, clmul_low(_mm_srli_si128(upper, 8), modulus));
}

MOIETY_INLINE __m128i product(__m128i a, __m128i b) {
  const __m128i middle =
      _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10));
  return reduced(clmul_low(a, b), middle, _mm_clmulepi64_si128(a, b, 0x11));
}

MOIETY_INLINE __m128i folded(Reg x) {
  alignas(64) u8 lanes[kVecBytes];
  V::store(lanes, x);
  __m128i sum = Lanes<1>::load(lanes);
  for (int i = 1; i < kB; i++) sum = _mm_xor_si128(sum, Lanes<1>::load(lanes + 16 * i));
  return sum;
}

// kB blocks of 128 rows of 16 bytes to 128 columns, which lie kHashedBytes apart.
void rows_to_columns(const u8* rows, u8* columns) {
  alignas(64) u8 octets[16][8][kVecBytes];  // [byte of the row][rows / 8, modulo 8]
  for (int g = 0; g < 8; g++) {
    Reg group[16];
    MOIETY_UNROLL
    for (int r = 0; r < 16; r++) {
      const int in_octet = V::kReversed ? 7 - (r & 7) : (r & 7);
      const int row = 64 * (r / 8) + 8 * g + in_octet;
      group[r] = V::template load_lanes<2048>(rows + 16 * row);
    }
    interleave_bytes(group);
    MOIETY_UNROLL
    for (int c = 0; c < 16; c++) V::store(octets[c][g], V::transpose8x8(group[c]));
  }
  for (int c = 0; c < 16; c++) {
    Reg octet[8];
    MOIETY_UNROLL
    for (int g = 0; g < 8; g++) octet[g] = V::load(octets[c][g]);
    interleave_bytes(octet);
    MOIETY_UNROLL
    for (int j = 0; j < 4; j++) {
      u8* to = columns + (8 * c + 2 * j) * kHashedBytes;
      V::store(to, V::unpack_lo64(octet[j], octet[4 + j]));
      V::store(to + kHashedBytes, V::unpack_hi64(octet[j], octet[4 + j]));
    }
  }
}

// One block of 128 bytes to 8 columns.
void bytes_to_columns(const u8* rows, u8* columns) {
  for (int g = 0; g < 8; g++) {
    __m128i bytes = Lanes<1>::load(rows + 16 * g);
    for (int j = 7; j >= 0; j--) {
      const u16 bits = static_cast<u16>(_mm_movemask_epi8(bytes));
      std::memcpy(columns + j * kHashedBytes + 2 * g, &bits, 2);
      bytes = _mm_add_epi8(bytes, bytes);
    }
  }
}

// Rows of `width` bytes, `blocks` of at most kHashed, to the last ones of kHashed columns.
void place_columns(const u8* rows, std::size_t width, std::size_t blocks, u8* columns) {
  columns += 16 * (kHashed - blocks);
  std::size_t b = 0;
  if (width == 1) {
    for (; b < blocks; b++) bytes_to_columns(rows + 128 * b, columns + 16 * b);
    return;
  }
  for (; b + kB <= blocks; b += kB) rows_to_columns(rows + 2048 * b, columns + 16 * b);
  if (b == blocks) return;
  // The last ones alone: whole vectors must not be written over what follows.
  alignas(64) u8 edge[2048 * kB] = {};
  alignas(64) u8 made[128 * kHashedBytes];
  std::memcpy(edge, rows + 2048 * b, 2048 * (blocks - b));
  rows_to_columns(edge, made);
  for (int c = 0; c < 128; c++) {
    std::memcpy(columns + c * kHashedBytes + 16 * b, made + c * kHashedBytes, 16 * (blocks - b));
  }
}

// powers: those of the point from kHashed down to 1; sums: of the two halves of each, in both
// halves.
void add_chunk(const u8* columns, std::size_t count, std::size_t blocks, const u8* powers,
               const u8* sums, u8* hash) {
  constexpr int kRegs = kHashed / kB;
  const __m128i first = Lanes<1>::load(powers + 16 * (kHashed - blocks));
  for (std::size_t c = 0; c < count; c++) {
    const u8* column = columns + c * kHashedBytes;
    Reg low = V::set64(0), middle = low, high = low;
    MOIETY_UNROLL
    for (int r = 0; r < kRegs; r++) {  // Karatsuba: the products of the halves' sums
      const Reg x = V::load(column + r * kVecBytes);
      const Reg p = V::load(powers + r * kVecBytes), s = V::load(sums + r * kVecBytes);
      low = V::bxor(low, V::template clmul<0x00>(x, p));
      high = V::bxor(high, V::template clmul<0x11>(x, p));
      middle = V::bxor(middle, V::template clmul<0x00>(V::bxor(x, V::swap64(x)), s));
    }
    middle = V::xor3(middle, low, high);
    const __m128i state = product(Lanes<1>::load(hash + 16 * c), first);
    const __m128i made = reduced(folded(low), folded(middle), folded(high));
    Lanes<1>::store(hash + 16 * c, _mm_xor_si128(state, made));
  }
}

void column_hash(const u8* rows, std::size_t n, std::size_t width, const u8* point, u8* hash) {
  alignas(64) u8 powers[kHashedBytes], sums[kHashedBytes];
  const __m128i p = Lanes<1>::load(point);
  __m128i power = p;
  for (int i = kHashed - 1; i >= 0; i--) {
    Lanes<1>::store(powers + 16 * i, power);
    Lanes<1>::store(sums + 16 * i, _mm_xor_si128(power, _mm_shuffle_epi32(power, 0x4e)));
    power = product(power, p);
  }
  std::memset(hash, 0, 128 * width);
  alignas(64) u8 columns[128 * kHashedBytes] = {};
  alignas(64) u8 edge[128 * 16];
  const std::size_t whole = n / 128, chunk_rows = 128 * kHashed;
  const auto add = [&](const u8* from, std::size_t blocks) {
    if (blocks < kHashed) std::memset(columns, 0, sizeof columns);
    place_columns(from, width, blocks, columns);
    add_chunk(columns, 8 * width, blocks, powers, sums, hash);
  };
  for (std::size_t row = 0; row < 128 * whole; row += chunk_rows) {
    add(rows + width * row, least(kHashed, whole - row / 128));
  }
  if (n % 128 != 0) {
    std::memset(edge, 0, sizeof edge);
    std::memcpy(edge, rows + 128 * width * whole, width * (n % 128));
    add(edge, 1);
  }
}

constexpr ColumnKernels kColumns{.column_hash = column_hash};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const ColumnKernels& column_kernels();  // of the instruction set in use

namespace {

Out<u8> column_hash(const Array& rows, const Array& point) {
  const u8* from = checked<u8>("rows", rows, {kAny, kAny});
  const std::size_t n = rows.shape(0), width = rows.shape(1);
  if (width != 1 && width != 16) {
    refuse("rows must have 1 or 16 bytes, not " + std::to_string(width));
  }
  const u8* p = checked<u8>("point", point, {16});
  const ColumnKernels& kernels = column_kernels();
  const Output<u8> hash({8 * width, 16});
  without_gil([&] { kernels.column_hash(from, n, width, p, hash.data()); });
  return hash.array();
}

void bind_columns(nb::module_& m) { m.def("column_hash", &column_hash, "rows"_a, "point"_a); }

}  // namespace
#endif

}  // namespace moiety
