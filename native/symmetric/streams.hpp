// Packing into bit streams and back. Bytes by the instructions of the set, words in plain C++.
// reference/streams.py specifies it.
#pragma once

#if defined(MOIETY_LOOPS)
#include <immintrin.h>
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "bitstream.hpp"

namespace moiety {

// n values of `bits` bits, 1..8; eight at a time are read and written, also past the end.
struct StreamKernels {
  void (*pack8)(const u8* values, std::size_t n, int bits, u8* out);
  void (*unpack8)(const u8* stream, std::size_t n, int bits, u8* out);
};

#if defined(MOIETY_LOOPS)
namespace {

// Eight bytes of `bits` bits each, joined and spread again.
#if defined(__BMI2__)
class Octets {
 public:
  explicit Octets(int bits) : fields_(low_mask(bits) * 0x0101010101010101ull) {}
  u64 join(u64 x) const { return _pext_u64(x, fields_); }
  u64 spread(u64 x) const { return _pdep_u64(x, fields_); }

 private:
  u64 fields_;
};
#else
class Octets {
 public:
  explicit Octets(int bits)
      : bits_(bits),
        m1_(low_mask(bits) * 0x0001000100010001ull),
        m2_(low_mask(2 * bits) * 0x0000000100000001ull),
        m3_(low_mask(4 * bits)) {}
  u64 join(u64 x) const {
    x = (x & m1_) | (x >> (8 - bits_) & m1_ << bits_);
    x = (x & m2_) | (x >> (16 - 2 * bits_) & m2_ << 2 * bits_);
    return (x & m3_) | (x >> (32 - 4 * bits_) & m3_ << 4 * bits_);
  }
  u64 spread(u64 x) const {
    x = (x & m3_) | (x & m3_ << 4 * bits_) << (32 - 4 * bits_);
    x = (x & m2_) | (x & m2_ << 2 * bits_) << (16 - 2 * bits_);
    return (x & m1_) | (x & m1_ << bits_) << (8 - bits_);
  }

 private:
  int bits_;
  u64 m1_, m2_, m3_;
};
#endif

void pack8(const u8* values, std::size_t n, int bits, u8* out) {
  const Octets octets(bits);
  std::size_t i = 0;
  // The upper bytes are zero, and written over or spare.
  for (; i + 8 <= n; i += 8, out += bits) store64(out, octets.join(load64(values + i)));
  if (i < n) {
    u64 few = 0;
    std::memcpy(&few, values + i, n - i);
    store64(out, octets.join(few));
  }
}

void unpack8(const u8* stream, std::size_t n, int bits, u8* out) {
  const Octets octets(bits);
  for (std::size_t i = 0; i < n; i += 8, stream += bits) {
    store64(out + i, octets.spread(load64(stream)));
  }
}

constexpr StreamKernels kStreams{.pack8 = pack8, .unpack8 = unpack8};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const StreamKernels& stream_kernels();  // of the instruction set in use

namespace {

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
constexpr double kWordCost = 0.7, kByteCost = 0.1;

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
  const StreamKernels& kernels = stream_kernels();
  const Output<u8> out({(n * bits + 7) / 8});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, words ? kWordCost : kByteCost}, [&](Range at) noexcept {
    u8* to = out.data() + at.start / 8 * bits;
    const bool last = at.stop == n;
    if (words) {
      pack_range(wide + at.start, at.size(), width, to, last,
                 [=](const u64* from, std::size_t count, u8* stream) {
                   pack64(from, count, width, stream);
                 });
    } else {
      pack_range(bytes + at.start, at.size(), width, to, last,
                 [=, &kernels](const u8* from, std::size_t count, u8* stream) {
                   kernels.pack8(from, count, width, stream);
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
  without_gil(pool, {n, kWordCost}, [&](Range range) noexcept {
    const u8* stream = from + range.start / 8 * bits;
    groups(stream, range.size(), width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      unpack64(bytes, count, width, out.data() + range.start + at);
    });
  });
  return out.array();
}

Out<u8> unpack8(const Array& data, u64 n, u64 bits, Pool* pool) {
  check_range("n", n, 0, u64{1} << 48);
  check_range("bits", bits, 1, 8);
  const u8* from = checked<u8>("data", data, {(n * bits + 7) / 8});
  const StreamKernels& kernels = stream_kernels();
  const Output<u8> out({n});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kByteCost}, [&](Range range) noexcept {
    const u8* stream = from + range.start / 8 * bits;
    groups(stream, range.size(), width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      kernels.unpack8(bytes, count, width, out.data() + range.start + at);
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
#endif

}  // namespace moiety
