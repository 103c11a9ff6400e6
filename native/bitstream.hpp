// Little-endian bit streams. 64 fields of any width fill whole bytes, so streams are written and read in groups of 64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// Internal linkage: this header is compiled with different instruction sets, and the linker must not merge the copies.
namespace moiety {
namespace {

constexpr std::size_t kGroup = 64;

inline std::uint64_t low_mask(int bits) { return bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1; }

inline std::uint64_t load64(const std::uint8_t* p) {
  std::uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

inline void store64(std::uint8_t* p, std::uint64_t v) { std::memcpy(p, &v, 8); }

// Writes up to 8 bytes past the end of the stream; the caller clears the spare bits with `finish_stream`.
class BitWriter {
 public:
  explicit BitWriter(std::uint8_t* out) : out_(out) {}

  // bits <= 56, no bits of `value` above them.
  void put(std::uint64_t value, int bits) {
    pending_ |= value << fill_;
    fill_ += bits;
    store64(out_, pending_);
    out_ += fill_ >> 3;
    pending_ >>= fill_ & ~7;
    fill_ &= 7;
  }

  // bits <= 64.
  void put_wide(std::uint64_t value, int bits) {
    if (bits > 56) {
      put(value & 0xffffffffu, 32);
      put(value >> 32, bits - 32);
    } else {
      put(value, bits);
    }
  }

 private:
  std::uint8_t* out_;
  std::uint64_t pending_ = 0;
  int fill_ = 0;
};

// Reads up to 16 bytes past the field: callers pad the last group.
inline std::uint64_t read_bits(const std::uint8_t* data, std::size_t position, int bits) {
  const std::uint8_t* p = data + (position >> 3);
  const int shift = static_cast<int>(position & 7);
  std::uint64_t v = load64(p) >> shift;
  if (bits > 56) v |= static_cast<std::uint64_t>(p[8]) << 1 << (63 - shift);
  return v & low_mask(bits);
}

inline void finish_stream(std::uint8_t* stream, std::size_t nbits) {
  if (nbits & 7) stream[nbits >> 3] &= static_cast<std::uint8_t>((1u << (nbits & 7)) - 1);
}

}  // namespace
}  // namespace moiety
