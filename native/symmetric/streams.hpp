// Packing into bit streams and back: plain C++ for any processor. reference/streams.py specifies
// it.
#pragma once

#include "arguments.hpp"
#include "bitstream.hpp"

namespace moiety {
namespace {

// Eight bytes of `bits` bits each, joined and spread again.
u64 join_bytes(u64 x, int bits) {
  const u64 m1 = low_mask(bits) * 0x0001000100010001ull,
            m2 = low_mask(2 * bits) * 0x0000000100000001ull, m3 = low_mask(4 * bits);
  x = (x & m1) | (x >> (8 - bits) & m1 << bits);
  x = (x & m2) | (x >> (16 - 2 * bits) & m2 << 2 * bits);
  return (x & m3) | (x >> (32 - 4 * bits) & m3 << 4 * bits);
}

u64 spread_bytes(u64 x, int bits) {
  const u64 m1 = low_mask(bits) * 0x0001000100010001ull,
            m2 = low_mask(2 * bits) * 0x0000000100000001ull, m3 = low_mask(4 * bits);
  x = (x & m3) | (x & m3 << 4 * bits) << (32 - 4 * bits);
  x = (x & m2) | (x & m2 << 2 * bits) << (16 - 2 * bits);
  return (x & m1) | (x & m1 << bits) << (8 - bits);
}

void pack8(const u8* values, std::size_t n, int bits, u8* out) {
  for (std::size_t i = 0; i < n; i += 8, out += bits) {
    u64 eight = 0;
    std::memcpy(&eight, values + i, n - i < 8 ? n - i : 8);
    store64(out, join_bytes(eight, bits));  // the upper bytes are zero, and written over or spare
  }
}

void pack64(const u64* values, std::size_t n, int bits, u8* out) {
  const u64 mask = low_mask(bits);
  BitWriter to(out);
  for (std::size_t i = 0; i < n; i++) to.put_wide(values[i] & mask, bits);
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

// Writes the fields of a range by `write(values, n, out)`, which may write 8 bytes past their end:
// where another range's begin, the last ones make a detour.
template <class T, class Write>
void pack_range(const T* values, std::size_t n, int bits, u8* out, bool last, Write write) {
  if (last) return write(values, n, out);
  u8 tail[kGroup * 8 + 8];
  const std::size_t before = n - kGroup;
  write(values, before, out);
  write(values + before, kGroup, tail);
  std::memcpy(out + before / 8 * bits, tail, kGroup / 8 * bits);
}

// Nanoseconds of a field.
constexpr double kFieldCost = 0.3;

Out<u8> pack(const Array& values, u64 bits, Pool* pool) {
  const bool words = values.dtype() == nb::dtype<u64>();
  const u8* bytes = nullptr;
  const u64* wide = nullptr;
  if (words) {
    wide = checked<u64>("values", values, {kAny});
  } else if (values.dtype() == nb::dtype<u8>()) {
    bytes = checked<u8>("values", values, {kAny});
  } else {
    throw nb::type_error("values must be uint8 or uint64");
  }
  check_range("bits", bits, 1, words ? 64 : 8);
  const std::size_t n = values.shape(0);
  const Output<u8> out({(n * bits + 7) / 8});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kFieldCost}, [&](Range at) noexcept {
    u8* to = out.data() + at.start / 8 * bits;
    const bool last = at.stop == n;
    if (words) {
      pack_range(wide + at.start, at.size(), width, to, last,
                 [=](const u64* from, std::size_t count, u8* stream) {
                   pack64(from, count, width, stream);
                 });
    } else {
      pack_range(bytes + at.start, at.size(), width, to, last,
                 [=](const u8* from, std::size_t count, u8* stream) {
                   pack8(from, count, width, stream);
                 });
    }
  });
  return out.array();
}

Out<u64> unpack(const Array& data, u64 n, u64 bits, Pool* pool) {
  check_range("n", n, 0, u64{1} << 48);
  check_range("bits", bits, 1, 64);
  const u8* from = checked<u8>("data", data, {(n * bits + 7) / 8});
  const Output<u64> out({n});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kFieldCost}, [&](Range range) noexcept {
    const u8* stream = from + range.start / 8 * bits;
    groups(stream, range.size(), width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      u64* to = out.data() + range.start + at;
      if (width <= 56) {
        const u64 mask = low_mask(width);
        for (std::size_t i = 0; i < count; i++)
          to[i] = load64(bytes + (i * width >> 3)) >> (i * width & 7) & mask;
      } else {
        for (std::size_t i = 0; i < count; i++) to[i] = read_bits(bytes, i * width, width);
      }
    });
  });
  return out.array();
}

Out<u8> unpack8(const Array& data, u64 n, u64 bits, Pool* pool) {
  check_range("n", n, 0, u64{1} << 48);
  check_range("bits", bits, 1, 8);
  const u8* from = checked<u8>("data", data, {(n * bits + 7) / 8});
  const Output<u8> out({n});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kFieldCost}, [&](Range range) noexcept {
    const u8* stream = from + range.start / 8 * bits;
    groups(stream, range.size(), width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      for (std::size_t i = 0; i < count; i += 8)
        store64(out.data() + range.start + at + i,
                spread_bytes(load64(bytes + i / 8 * width), width));
    });
  });
  return out.array();
}

void bind_streams(nb::module_& m) {
  m.def("pack", &pack, "values"_a, "bits"_a, pool_argument());
  m.def("unpack", &unpack, "data"_a, "n"_a, "bits"_a, pool_argument());
  m.def("unpack8", &unpack8, "data"_a, "n"_a, "bits"_a, pool_argument());
}

}  // namespace
}  // namespace moiety
