// Digits of values, and choices made of shared bits: what a comparison's lookups start from. No
// cryptography, but loops that want the vectors. reference/digits.py specifies them.
#pragma once

#if defined(MOIETY_BINDINGS)
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <numeric>
#include <optional>
#include <vector>

#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// Digits of ((x >> shift) + added) ^ flip: `count` of them, `sizes` bits each.
struct Cut {
  int shift;
  u64 flip;
  int count;
  const int* sizes;
};

// Shapes as in the specification, arguments checked. `added` may be null.
struct DigitKernels {
  // One row; digit d goes to out + d * step.
  void (*cut_digits)(const Cut& cut, const u64* x, const u64* added, std::size_t n,
                     std::size_t step, u8* out);
  // ORs the masked part, moved by `by` (to the right where negative), into the choices.
  void (*gather_bits)(const u8* part, std::size_t n, u8 mask, int by, u8* choices);
};

#if defined(MOIETY_LOOPS)
namespace {

void cut_digits(const Cut& cut, const u64* x, const u64* added, std::size_t n, std::size_t step,
                u8* out) {
  constexpr std::size_t kBlock = 512;  // values at once: they stay in the first cache
  alignas(64) u64 values[kBlock];
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t size = least(kBlock, n - first);
    const int shift = cut.shift;
    const u64 flip = cut.flip;
    for (std::size_t i = 0; i < size; i++) values[i] = (x[first + i] >> shift) ^ flip;
    if (added != nullptr) {
      // ~(a + b) = ~a - b.
      const u64 sign = flip | 1;
      for (std::size_t i = 0; i < size; i++) values[i] += sign * added[first + i];
    }
    int low = 0;
    for (int digit = cut.count - 1; digit >= 0; digit--) {
      const u64 mask = (u64{1} << cut.sizes[digit]) - 1;
      u8* __restrict to = out + static_cast<std::size_t>(digit) * step + first;
      for (std::size_t i = 0; i < size; i++) to[i] = static_cast<u8>(values[i] >> low & mask);
      low += cut.sizes[digit];
    }
  }
}

void gather_bits(const u8* part, std::size_t n, u8 mask, int by, u8* __restrict choices) {
  const int right = by < 0 ? -by : 0, left = by < 0 ? 0 : by;
  for (std::size_t i = 0; i < n; i++)
    choices[i] |= static_cast<u8>((part[i] & mask) >> right << left);
}

constexpr DigitKernels kDigits{.cut_digits = cut_digits, .gather_bits = gather_bits};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const DigitKernels& digit_kernels();  // of the instruction set in use

namespace {

Out<u8> cut_digits(const Array& x, const std::optional<Array>& added, u64 shift,
                   const std::vector<int>& sizes, bool complement, Pool* pool) {
  const std::size_t n = rows_of(x);
  const u64* values = checked<u64>("x", x, {kAny});
  const u64* others = added ? checked<u64>("added", *added, {kAny, n}) : nullptr;
  const std::size_t rows = added ? added->shape(0) : 1;
  check_range("shift", shift, 0, 63);
  for (const int size : sizes) check_range("a digit's bits", i64{size}, 1, 8);
  check_range("the digits' bits", std::accumulate(sizes.begin(), sizes.end(), u64{0}), 0, 64);
  const Cut cut{.shift = static_cast<int>(shift),
                .flip = complement ? ~u64{0} : 0,
                .count = static_cast<int>(sizes.size()),
                .sizes = sizes.data()};
  const DigitKernels& kernels = digit_kernels();
  const Output<u8> digits({sizes.size(), rows, n});
  const double cost = 0.3 * static_cast<double>(rows * (sizes.size() + 1));
  without_gil(pool, {n, cost}, [&](Range at) noexcept {
    for (std::size_t row = 0; row < rows; row++) {
      const std::size_t first = row * n + at.start;
      kernels.cut_digits(cut, values + at.start, others ? others + first : nullptr, at.size(),
                         rows * n, digits.data() + first);
    }
  });
  return digits.array();
}

Out<u8> gather_bits(const std::vector<Array>& parts, const std::vector<int>& masks) {
  if (parts.size() != masks.size()) refuse("there must be a mask for every part");
  const std::size_t n = parts.empty() ? 0 : rows_of(parts[0]);
  std::vector<const u8*> from;
  u64 together = 0;
  for (std::size_t i = 0; i < parts.size(); i++) {
    from.push_back(checked<u8>("a part", parts[i], {n}));
    check_range("a mask", i64{masks[i]}, 1, 3);
    together += masks[i] == 3 ? 2 : 1;
  }
  check_range("the bits together", together, 1, 8);
  const DigitKernels& kernels = digit_kernels();
  const Output<u8> choices({n});
  without_gil([&] {
    std::memset(choices.data(), 0, n);
    int at = 0;
    for (std::size_t i = 0; i < from.size(); i++) {
      const int mask = masks[i];
      kernels.gather_bits(from[i], n, static_cast<u8>(mask), mask == 2 ? at - 1 : at,
                          choices.data());
      at += mask == 3 ? 2 : 1;
    }
  });
  return choices.array();
}

void bind_digits(nb::module_& m) {
  m.def("cut_digits", &cut_digits, "x"_a, "added"_a.none(), "shift"_a, "sizes"_a, "complement"_a,
        pool_argument());
  m.def("gather_bits", &gather_bits, "parts"_a, "masks"_a);
}

}  // namespace
#endif

}  // namespace moiety
