// Products of a bit and a number that are made before a run, and their values under masks in the
// run, on packed streams: memory is passed over once. No cryptography, but loops that want the
// vectors. reference/masked.py specifies them.
#pragma once

#if defined(MOIETY_BINDINGS)
#include <nanobind/stl/optional.h>

#include <optional>

#include "arguments.hpp"
#endif
#include "bitstream.hpp"

namespace moiety {

// A party's share of a value: a is its share of a product. `y` may be null.
struct Value {
  const u64* x;
  int shift;
  const u64* y;
  const u8* bit;
  const u8* share;  // a, packed
  const u8* e;

  // From element `first` on, a multiple of 8.
  Value from(std::size_t first, int bits) const {
    return {x + first, shift, y == nullptr ? y : y + first, bit + first, share + first / 8 * bits,
            e + first};
  }
};

// Shapes as in the specification, arguments checked. Past the end of a stream is written only where
// its last group is not whole: see kSlack in arguments.hpp.
struct MaskedKernels {
  void (*product_sent)(const u8* pads, const u8* y, std::size_t n, int bits, u8* message,
                       u8* share);
  void (*product_received)(const u8* pads, const u8* message, const u8* u, std::size_t n, int bits,
                           u8* share);
  void (*masked_send)(const Value& value, const u64* mask, std::size_t n, int bits, u8* message);
  // `value.y` is null.
  void (*masked_receive)(const Value& value, const u8* message, std::size_t n, int bits, u64* sum);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr std::size_t kFields = 256;  // at once: they stay in the first cache

// A stream that is read part by part, also where nothing past its end may be.
class Fields {
 public:
  Fields(const u8* stream, std::size_t n, int bits) : stream_(stream), n_(n), bits_(bits) {}

  // `count` fields, at most N of them, from field `at` on, a multiple of 8.
  template <std::size_t N>
  void read(std::size_t at, std::size_t count, u64 (&out)[N]) const {
    const u8* from = stream_ + at / 8 * bits_;
    const std::size_t margin = (128 + bits_ - 1) / bits_;
    u8 padded[N * 8 + 16];
    if (at + count + margin > n_) {
      const std::size_t bytes = (count * bits_ + 7) / 8;
      std::memcpy(padded, from, bytes);
      std::memset(padded + bytes, 0, 16);
      from = padded;
    }
    unpack64(from, count, bits_, out);
  }

 private:
  const u8* stream_;
  std::size_t n_;
  int bits_;
};

// Fields `at` to `at + count` of a stream of n. The last group makes a detour: where it is whole,
// another range's may follow. Overwrites the values behind those.
inline void write_fields(u64 (&values)[kFields], std::size_t at, std::size_t count, std::size_t n,
                         int bits, u8* stream) {
  for (std::size_t i = count; i < (count + kGroup - 1) / kGroup * kGroup; i++) values[i] = 0;
  u8* to = stream + at / 8 * bits;
  for (std::size_t i = 0; i < count; i += kGroup, to += kGroup / 8 * bits) {
    const std::size_t have = least(kGroup, count - i);
    if (at + i + have < n) {
      put_group(BitWriter(to), values + i, have, bits);
    } else {
      u8 last[kGroup * 8 + 8];
      put_group(BitWriter(last), values + i, have, bits);
      std::memcpy(to, last, (have * bits + 7) / 8);
    }
  }
}

void product_sent(const u8* pads, const u8* y, std::size_t n, int bits, u8* message, u8* share) {
  const Fields both(pads, 2 * n, bits), known(y, n, bits);
  const u64 low = low_mask(bits);
  alignas(64) u64 pad[2 * kFields], sent[kFields], kept[kFields];
  for (std::size_t at = 0; at < n; at += kFields) {
    const std::size_t count = least(kFields, n - at);
    both.read(2 * at, 2 * count, pad);
    known.read(at, count, sent);
    for (std::size_t i = 0; i < count; i++) {
      sent[i] = (sent[i] + pad[2 * i] - pad[2 * i + 1]) & low;
      kept[i] = (0 - pad[2 * i]) & low;
    }
    write_fields(sent, at, count, n, bits, message);
    write_fields(kept, at, count, n, bits, share);
  }
}

// All bits of a word that is to be kept, none of one that is not.
MOIETY_INLINE u64 ones(u8 bit) { return 0 - static_cast<u64>(bit); }

void product_received(const u8* pads, const u8* message, const u8* u, std::size_t n, int bits,
                      u8* share) {
  const Fields own(pads, n, bits), sent(message, n, bits);
  const u64 low = low_mask(bits);
  alignas(64) u64 pad[kFields], opened[kFields];
  for (std::size_t at = 0; at < n; at += kFields) {
    const std::size_t count = least(kFields, n - at);
    own.read(at, count, pad);
    sent.read(at, count, opened);
    const u8* bit = u + at;
    for (std::size_t i = 0; i < count; i++) pad[i] = (pad[i] + (opened[i] & ones(bit[i]))) & low;
    write_fields(pad, at, count, n, bits, share);
  }
}

// a, or -a where e is 1.
MOIETY_INLINE u64 turned(u64 a, u8 e) { return (a ^ ones(e)) - ones(e); }

void masked_send(const Value& value, const u64* mask, std::size_t n, int bits, u8* message) {
  const Fields product(value.share, n, bits);
  const u64 low = low_mask(bits);
  alignas(64) u64 sum[kFields];
  for (std::size_t at = 0; at < n; at += kFields) {
    const std::size_t count = least(kFields, n - at);
    product.read(at, count, sum);
    const Value here = value.from(at, bits);
    const u64* taken = mask + at;
    for (std::size_t i = 0; i < count; i++)
      sum[i] = (here.x[i] >> here.shift) + turned(sum[i], here.e[i]) - taken[i];
    if (here.y == nullptr) {
      for (std::size_t i = 0; i < count; i++) sum[i] = (sum[i] + here.bit[i]) & low;
    } else {
      for (std::size_t i = 0; i < count; i++)
        sum[i] = (sum[i] + (here.y[i] & ones(here.bit[i]))) & low;
    }
    write_fields(sum, at, count, n, bits, message);
  }
}

void masked_receive(const Value& value, const u8* message, std::size_t n, int bits,
                    u64* __restrict sum) {
  const Fields product(value.share, n, bits), sent(message, n, bits);
  const u64 low = low_mask(bits);
  alignas(64) u64 own[kFields], theirs[kFields];
  for (std::size_t at = 0; at < n; at += kFields) {
    const std::size_t count = least(kFields, n - at);
    product.read(at, count, own);
    sent.read(at, count, theirs);
    const Value here = value.from(at, bits);
    for (std::size_t i = 0; i < count; i++) {
      sum[at + i] =
          ((here.x[i] >> here.shift) - here.bit[i] + turned(own[i], here.e[i]) + theirs[i]) & low;
    }
  }
}

constexpr MaskedKernels kMasked{.product_sent = product_sent,
                                .product_received = product_received,
                                .masked_send = masked_send,
                                .masked_receive = masked_receive};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const MaskedKernels& masked_kernels();  // of the instruction set in use

namespace {

// Nanoseconds of an element.
constexpr double kProductCost = 1.5, kValueCost = 1;

nb::tuple product_sent(const Array& pads, const Array& y, u64 n, u64 bits, Pool* pool) {
  check_range("n", n, 0, u64{1} << 47);
  check_range("bits", bits, 1, 64);
  const std::size_t bytes = (n * bits + 7) / 8;
  const u8* both = checked<u8>("pads", pads, {(2 * n * bits + 7) / 8});
  const u8* known = checked<u8>("y", y, {bytes});
  const MaskedKernels& kernels = masked_kernels();
  const Output<u8> message({bytes}), share({bytes});
  without_gil(pool, {n, kProductCost}, [&](Range at) noexcept {
    const std::size_t first = at.start / 8 * bits;
    kernels.product_sent(both + 2 * first, known + first, at.size(), static_cast<int>(bits),
                         message.data() + first, share.data() + first);
  });
  return nb::make_tuple(message.array(), share.array());
}

Out<u8> product_received(const Array& pads, const Array& message, const Array& u, u64 bits,
                         Pool* pool) {
  check_range("bits", bits, 1, 64);
  const std::size_t n = rows_of(u);
  const std::size_t bytes = (n * bits + 7) / 8;
  const u8* own = checked<u8>("pads", pads, {bytes});
  const u8* sent = checked<u8>("message", message, {bytes});
  const u8* choices = checked<u8>("u", u, {kAny});
  const MaskedKernels& kernels = masked_kernels();
  const Output<u8> share({bytes});
  without_gil(pool, {n, kProductCost}, [&](Range at) noexcept {
    const std::size_t first = at.start / 8 * bits;
    kernels.product_received(own + first, sent + first, choices + at.start, at.size(),
                             static_cast<int>(bits), share.data() + first);
  });
  return share.array();
}

Value checked_value(const Array& x, u64 shift, const u64* y, const Array& bit, const Array& share,
                    const Array& e, u64 bits) {
  check_range("shift", shift, 0, 63);
  check_range("bits", bits, 1, 64);
  const std::size_t n = rows_of(x);
  return {.x = checked<u64>("x", x, {kAny}),
          .shift = static_cast<int>(shift),
          .y = y,
          .bit = checked<u8>("bit", bit, {n}),
          .share = checked<u8>("share", share, {(n * bits + 7) / 8}),
          .e = checked<u8>("e", e, {n})};
}

Out<u8> masked_send(const Array& x, u64 shift, const std::optional<Array>& y, const Array& bit,
                    const Array& share, const Array& e, const Array& mask, u64 bits, Pool* pool) {
  const std::size_t n = rows_of(x);
  const u64* numbers = y ? checked<u64>("y", *y, {n}) : nullptr;
  const Value value = checked_value(x, shift, numbers, bit, share, e, bits);
  const u64* taken = checked<u64>("mask", mask, {n});
  const MaskedKernels& kernels = masked_kernels();
  const Output<u8> message({(n * bits + 7) / 8});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kValueCost}, [&](Range at) noexcept {
    kernels.masked_send(value.from(at.start, width), taken + at.start, at.size(), width,
                        message.data() + at.start / 8 * bits);
  });
  return message.array();
}

Out<u64> masked_receive(const Array& x, u64 shift, const Array& bit, const Array& share,
                        const Array& e, const Array& message, u64 bits, Pool* pool) {
  const Value value = checked_value(x, shift, nullptr, bit, share, e, bits);
  const std::size_t n = rows_of(x);
  const u8* sent = checked<u8>("message", message, {(n * bits + 7) / 8});
  const MaskedKernels& kernels = masked_kernels();
  const Output<u64> sum({n});
  const int width = static_cast<int>(bits);
  without_gil(pool, {n, kValueCost}, [&](Range at) noexcept {
    kernels.masked_receive(value.from(at.start, width), sent + at.start / 8 * bits, at.size(),
                           width, sum.data() + at.start);
  });
  return sum.array();
}

void bind_masked(nb::module_& m) {
  m.def("product_sent", &product_sent, "pads"_a, "y"_a, "n"_a, "bits"_a, pool_argument());
  m.def("product_received", &product_received, "pads"_a, "message"_a, "u"_a, "bits"_a,
        pool_argument());
  m.def("masked_send", &masked_send, "x"_a, "shift"_a, "y"_a.none(), "bit"_a, "share"_a, "e"_a,
        "mask"_a, "bits"_a, pool_argument());
  m.def("masked_receive", &masked_receive, "x"_a, "shift"_a, "bit"_a, "share"_a, "e"_a, "message"_a,
        "bits"_a, pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
