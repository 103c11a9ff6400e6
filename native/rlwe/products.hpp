// Products of weights and windows of polynomials. reference/rlwe.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#include <algorithm>
#include <cstring>

#include "rlwe/modular.hpp"
#elif defined(MOIETY_BINDINGS)
#include "rlwe/arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// `answers` sums of `terms` products, each of a factor and `length` elements of a row. Factors are
// (answers, terms), sums (answers, length); rows begin `width` elements apart.
struct ProductKernels {
  void (*add_products)(const double* factors, const double* rows, std::size_t width,
                       std::size_t answers, std::size_t terms, std::size_t length, double* sums);
};

#if defined(MOIETY_LOOPS)
namespace {

// A tile of sums stays in registers: so many answers, so many vectors of elements.
#if defined(__AVX512F__)
constexpr std::size_t kLanes = 8, kTileAnswers = 8;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 4, kTileAnswers = 4;
#else
constexpr std::size_t kLanes = 2, kTileAnswers = 4;
#endif
constexpr std::size_t kTileVectors = 3, kTileLength = kTileVectors * kLanes;
constexpr std::size_t kPanelTerms = 128;  // whose tile fits the first-level cache

using Doubles [[gnu::vector_size(8 * kLanes)]] = double;

// Vector number i of what begins at p, which need not be aligned to one.
MOIETY_INLINE Doubles load(const double* p, std::size_t i) {
  Doubles x;
  std::memcpy(&x, p + i * kLanes, sizeof x);
  return x;
}
MOIETY_INLINE void store(double* p, std::size_t i, Doubles x) {
  std::memcpy(p + i * kLanes, &x, sizeof x);
}

// Adds to sums (Answers, kTileLength), `apart` apart, the products with `terms` rows of a panel.
template <std::size_t Answers>
void add_tile(const double* factors, std::size_t stride, const double* panel, std::size_t terms,
              double* sums, std::size_t apart) {
  Doubles tile[Answers][kTileVectors];
  MOIETY_UNROLL
  for (std::size_t a = 0; a < Answers; a++) {
    MOIETY_UNROLL
    for (std::size_t v = 0; v < kTileVectors; v++) tile[a][v] = load(sums + a * apart, v);
  }
  for (std::size_t t = 0; t < terms; t++, panel += kTileLength) {
    MOIETY_UNROLL
    for (std::size_t a = 0; a < Answers; a++) {
      const double factor = factors[a * stride + t];
      MOIETY_UNROLL
      for (std::size_t v = 0; v < kTileVectors; v++) tile[a][v] += factor * load(panel, v);
    }
  }
  MOIETY_UNROLL
  for (std::size_t a = 0; a < Answers; a++) {
    MOIETY_UNROLL
    for (std::size_t v = 0; v < kTileVectors; v++) store(sums + a * apart, v, tile[a][v]);
  }
}

// The same for any number of answers.
template <std::size_t Answers = kTileAnswers>
void add_tiles(const double* factors, std::size_t stride, const double* panel, std::size_t answers,
               std::size_t terms, double* sums, std::size_t apart) {
  std::size_t a = 0;
  for (; a + Answers <= answers; a += Answers) {
    add_tile<Answers>(factors + a * stride, stride, panel, terms, sums + a * apart, apart);
  }
  if constexpr (Answers > 1) {
    add_tiles<Answers / 2>(factors + a * stride, stride, panel, answers - a, terms,
                           sums + a * apart, apart);
  }
}

// The last tile, which is not whole, by way of a copy of its sums.
void add_last(const double* factors, std::size_t stride, const double* panel, std::size_t answers,
              std::size_t terms, std::size_t length, double* sums, std::size_t apart) {
  double whole[kTileAnswers * kTileLength] = {};
  for (std::size_t a = 0; a < answers; a += kTileAnswers) {
    const std::size_t some = std::min(kTileAnswers, answers - a);
    for (std::size_t i = 0; i < some; i++)
      std::memcpy(whole + i * kTileLength, sums + (a + i) * apart, length * sizeof(double));
    add_tiles(factors + a * stride, stride, panel, some, terms, whole, kTileLength);
    for (std::size_t i = 0; i < some; i++)
      std::memcpy(sums + (a + i) * apart, whole + i * kTileLength, length * sizeof(double));
  }
}

void add_products(const double* factors, const double* rows, std::size_t width, std::size_t answers,
                  std::size_t terms, std::size_t length, double* sums) {
  alignas(64) double panel[kPanelTerms * kTileLength];
  for (std::size_t first = 0; first < terms; first += kPanelTerms) {
    const std::size_t some = std::min(kPanelTerms, terms - first);
    for (std::size_t start = 0; start < length; start += kTileLength) {
      const std::size_t size = std::min(kTileLength, length - start);
      const double* from = rows + first * width + start;
      if (size == kTileLength) {
        for (std::size_t t = 0; t < some; t++)
          std::memcpy(panel + t * kTileLength, from + t * width, kTileLength * sizeof(double));
        add_tiles(factors + first, terms, panel, answers, some, sums + start, length);
      } else {
        std::memset(panel, 0, sizeof panel);
        for (std::size_t t = 0; t < some; t++)
          std::memcpy(panel + t * kTileLength, from + t * width, size * sizeof(double));
        add_last(factors + first, terms, panel, answers, some, size, sums + start, length);
      }
    }
  }
}

constexpr ProductKernels kProducts{.add_products = add_products};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const ProductKernels& product_kernels();  // of the instruction set in use

namespace {

void add_products(const Target& sums, const Array& factors, const Array& rows, u64 term,
                  u64 start) {
  double* to = checked<double>("sums", sums, {kAny, kAny, kAny});
  const std::size_t bundles = sums.shape(0), answers = sums.shape(1), length = sums.shape(2);
  const double* times = checked<double>("factors", factors, {bundles, answers, kAny});
  const double* from = checked<double>("rows", rows, {bundles, kAny, kAny});
  const std::size_t terms = factors.shape(2), all = rows.shape(1), width = rows.shape(2);
  check_range("term", term, 0, all);
  check_range("term + terms", term + terms, 0, all);
  check_range("start", start, 0, width);
  check_range("start + length", start + length, 0, width);
  check_apart("sums", sums, {&factors, &rows});
  const ProductKernels& kernels = product_kernels();
  if (sums.size() == 0) return;
  without_gil([&] {
    for (std::size_t b = 0; b < bundles; b++) {
      kernels.add_products(times + b * answers * terms, from + (b * all + term) * width + start,
                           width, answers, terms, length, to + b * answers * length);
    }
  });
}

void bind_products(nb::module_& m) {
  m.def("add_products", &add_products, "sums"_a.noconvert(), "factors"_a, "rows"_a, "term"_a,
        "start"_a);
}

}  // namespace
#endif

}  // namespace moiety
