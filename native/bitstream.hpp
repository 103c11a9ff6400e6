// Little-endian bit streams: what `pack` and `unpack` of reference/streams.py specify, field by
// field. 64 fields of any width fill whole bytes, so streams are written and read in groups of 64.
#pragma once

#include <cstring>

#include "common.hpp"

// Internal linkage: this header is compiled with different instruction sets, and the linker must
// not merge the copies.
namespace moiety {
namespace {

constexpr std::size_t kGroup = 64;

inline u64 low_mask(int bits) { return bits == 64 ? ~u64{0} : (u64{1} << bits) - 1; }

inline u64 load64(const u8* p) {
  u64 v;
  std::memcpy(&v, p, 8);
  return v;
}

inline void store64(u8* p, u64 v) { std::memcpy(p, &v, 8); }

// Writes up to 8 bytes past the end of the stream; the caller clears the spare bits with
// `finish_stream`.
class BitWriter {
 public:
  explicit BitWriter(u8* out) : out_(out) {}

  // bits <= 56, no bits of `value` above them.
  void put(u64 value, int bits) {
    pending_ |= value << fill_;
    fill_ += bits;
    store64(out_, pending_);
    out_ += fill_ >> 3;
    pending_ >>= fill_ & ~7;
    fill_ &= 7;
  }

  // bits <= 64.
  void put_wide(u64 value, int bits) {
    if (bits > 56) {
      put(value & 0xffffffffu, 32);
      put(value >> 32, bits - 32);
    } else {
      put(value, bits);
    }
  }

 private:
  u8* out_;
  u64 pending_ = 0;
  int fill_ = 0;
};

// Reads up to 16 bytes past the field: callers pad the last group.
inline u64 read_bits(const u8* data, std::size_t position, int bits) {
  const u8* p = data + (position >> 3);
  const int shift = static_cast<int>(position & 7);
  u64 v = load64(p) >> shift;
  if (bits > 56) v |= static_cast<u64>(p[8]) << 1 << (63 - shift);
  return v & low_mask(bits);
}

// A group's fields to the stream: neighbours are joined, two by two, as long as one step of the
// writer takes them. Fields from `have` on may fill the rest of the last step.
inline void put_group(BitWriter& to, const u64* fields, std::size_t have, int bits) {
  alignas(64) u64 joined[2][kGroup / 2];
  std::size_t count = kGroup;
  int width = bits;
  for (bool turn = false; 2 * width <= 56; width *= 2, turn = !turn) {
    u64* wider = joined[turn];
    count /= 2;
    for (std::size_t i = 0; i < count; i++) wider[i] = fields[2 * i] | fields[2 * i + 1] << width;
    fields = wider;
  }
  for (std::size_t done = 0; done < have * bits; done += width) to.put_wide(*fields++, width);
}

// A group's fields from the stream, of which 16 bytes past the end may be read.
inline void get_group(const u8* from, u64* fields, std::size_t have, int bits) {
  for (std::size_t i = 0; i < have; i++) fields[i] = read_bits(from, i * bits, bits);
}

// Writes n fields, and up to 8 bytes past their end.
inline void pack64(const u64* values, std::size_t n, int bits, u8* out) {
  const u64 mask = low_mask(bits);
  BitWriter to(out);
  for (std::size_t i = 0; i < n; i++) to.put_wide(values[i] & mask, bits);
}

// Reads n fields, and up to 16 bytes past their end.
inline void unpack64(const u8* from, std::size_t n, int bits, u64* out) {
  if (bits <= 56) {
    const u64 mask = low_mask(bits);
    for (std::size_t i = 0; i < n; i++)
      out[i] = load64(from + (i * bits >> 3)) >> (i * bits & 7) & mask;
  } else {
    for (std::size_t i = 0; i < n; i++) out[i] = read_bits(from, i * bits, bits);
  }
}

// Calls `read(bytes, first, count)` for groups of fields of which 16 bytes past the end may be
// read.
template <class Read>
void groups(const u8* data, std::size_t n, int bits, Read read) {
  constexpr std::size_t kStep = 4096;
  std::size_t at = 0;
  const std::size_t margin = (128 + bits - 1) / bits;
  for (; at + kStep + margin <= n; at += kStep) read(data + at / 8 * bits, at, kStep);
  const std::size_t rest = (n * bits + 7) / 8 - at / 8 * bits;
  u8 padded[(kStep + 128) * 8 + 16];
  if (rest > 0) std::memcpy(padded, data + at / 8 * bits, rest);
  std::memset(padded + rest, 0, 16);
  read(padded, at, n - at);
}

inline void finish_stream(u8* stream, std::size_t nbits) {
  if (nbits & 7) stream[nbits >> 3] &= static_cast<u8>((1u << (nbits & 7)) - 1);
}

}  // namespace
}  // namespace moiety
