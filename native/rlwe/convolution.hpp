// The convolution of integers that a party knows, modulo 2^32. reference/rlwe.py specifies it.
//
// Integers are cut into two halves of 16 bits, x = low + 2^16 * high with the low one signed, and
// channels are taken in pairs: one instruction multiplies two neighbours in a word by two weights
// and adds both products to a sum that wraps, as it should. Where 16 bits are enough there is one
// half.
//
// Rows of a channel lie one after the other with their padding between them, which the right side
// of one row and the left side of the next share. So a tap is an offset into the same memory, and
// what is computed over the gaps is left out at the end.
#pragma once

#if defined(MOIETY_LOOPS)
#include <algorithm>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#elif defined(MOIETY_BINDINGS)
#include <nanobind/stl/vector.h>

#include <memory>

#include "rlwe/arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// Stride 1; channels and filters of a group. All of it is public.
struct Convolved {
  std::size_t groups, channels, height, width, filters, kernel_height, kernel_width;
  std::size_t top, left, bottom, right, dilation_y, dilation_x;
  int bits, guard;  // operands modulo 2^bits; results shifted by the guard

  MOIETY_INLINE std::size_t out_height() const {
    return height + top + bottom - dilation_y * (kernel_height - 1);
  }
  MOIETY_INLINE std::size_t out_width() const {
    return width + left + right - dilation_x * (kernel_width - 1);
  }
  // How far apart rows begin: neighbours' padding is shared, and outputs do not meet.
  MOIETY_INLINE std::size_t pitch() const {
    const std::size_t padded = width + (left > right ? left : right);
    return padded > out_width() ? padded : out_width();
  }
  // Where the first row does.
  MOIETY_INLINE std::size_t begin() const { return top * pitch() + left; }
  // Sums of a filter that are computed, those over the gaps with them.
  MOIETY_INLINE std::size_t positions() const { return out_height() * pitch(); }
  MOIETY_INLINE std::size_t pairs() const { return (channels + 1) / 2; }
  MOIETY_INLINE std::size_t terms() const { return kernel_height * kernel_width * pairs(); }
  MOIETY_INLINE std::size_t halves() const { return bits > 16 ? 2 : 1; }
  // Words of one half of a pair: all rows, and what is read for whole vectors of sums.
  MOIETY_INLINE std::size_t plane() const {
    constexpr std::size_t kMostLanes = 16;
    const std::size_t taps =
        (kernel_height - 1) * dilation_y * pitch() + (kernel_width - 1) * dilation_x;
    const std::size_t read = taps + (positions() + kMostLanes - 1) / kMostLanes * kMostLanes;
    const std::size_t held = begin() + height * pitch();
    return read > held ? read : held;
  }
};

struct ConvolutionKernels {
  // Planes (groups * pairs, halves, plane) of x (groups * channels, height, width), for the pairs
  // of the range.
  void (*cut_halves)(const Convolved& c, const u64* x, Range pairs, u32* planes);
  // Adds to sums (groups * filters, out_height, out_width) what the positions of the range give,
  // which begins at a multiple of 16; weight (groups * filters, kernel, pairs, 2); added has one
  // number for each sum, or for each filter where `apart` is 1.
  void (*add_convolution)(const Convolved& c, const u32* planes, const i16* weight,
                          const u64* added, std::size_t apart, Range positions, u64* sums);
};

#if defined(MOIETY_LOOPS)
namespace {

// Sums stay in registers: so many filters of so many vectors, for each half.
#if defined(__AVX512VNNI__)
constexpr std::size_t kWordLanes = 16, kMostVectors = 3, kMostFilters = 8;
#elif defined(__AVX2__)
constexpr std::size_t kWordLanes = 8, kMostVectors = 2, kMostFilters = 4;
#else
constexpr std::size_t kWordLanes = 4, kMostVectors = 2, kMostFilters = 4;
#endif
constexpr std::size_t kMostPositions = kMostVectors * kWordLanes;
constexpr std::size_t kFiltersAtOnce = 64;
constexpr std::size_t kPairTerms = 64;  // whose panel fits the first-level cache

using Words [[gnu::vector_size(4 * kWordLanes)]] = u32;

MOIETY_INLINE Words load_words(const u32* p) {
  Words x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
MOIETY_INLINE void store_words(u32* p, Words x) { std::memcpy(p, &x, sizeof x); }

// sums + the products of both 16-bit halves of each word.
MOIETY_INLINE Words add_pairs(Words sums, Words x, Words w) {
#if defined(__AVX512VNNI__)
  return (Words)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)x, (__m512i)w);
#elif defined(__AVX2__)
  return sums + (Words)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#elif defined(__SSE2__)
  return sums + (Words)_mm_madd_epi16((__m128i)x, (__m128i)w);
#else
  using Signed [[gnu::vector_size(4 * kWordLanes)]] = std::int32_t;
  const auto low = [](Words v) { return (Words)((Signed)(v << 16) >> 16); };
  const auto high = [](Words v) { return (Words)((Signed)v >> 16); };
  return sums + low(x) * low(w) + high(x) * high(w);
#endif
}

// Adds to sums, kMostPositions apart, the products with `terms` terms of a panel.
template <std::size_t Halves, std::size_t Filters, std::size_t Vectors>
void add_pairs_tile(const i16* weight, std::size_t stride, const u32* panel, std::size_t terms,
                    u32* sums) {
  Words tile[Halves][Filters][Vectors] = {};
  for (std::size_t t = 0; t < terms; t++, panel += Halves * Vectors * kWordLanes) {
    Words x[Halves][Vectors];
    MOIETY_UNROLL
    for (std::size_t h = 0; h < Halves; h++) {
      MOIETY_UNROLL
      for (std::size_t v = 0; v < Vectors; v++)
        x[h][v] = load_words(panel + (h * Vectors + v) * kWordLanes);
    }
    MOIETY_UNROLL
    for (std::size_t f = 0; f < Filters; f++) {
      u32 pair;
      std::memcpy(&pair, weight + f * stride + 2 * t, sizeof pair);
      const Words w = Words{} + pair;
      MOIETY_UNROLL
      for (std::size_t h = 0; h < Halves; h++) {
        MOIETY_UNROLL
        for (std::size_t v = 0; v < Vectors; v++)
          tile[h][f][v] = add_pairs(tile[h][f][v], x[h][v], w);
      }
    }
  }
  MOIETY_UNROLL
  for (std::size_t f = 0; f < Filters; f++) {
    MOIETY_UNROLL
    for (std::size_t v = 0; v < Vectors; v++) {
      u32* at = sums + f * kMostPositions + v * kWordLanes;
      Words sum = load_words(at) + tile[0][f][v];
      if constexpr (Halves == 2) sum += tile[1][f][v] << 16;
      store_words(at, sum);
    }
  }
}

// The same for any number of filters.
template <std::size_t Halves, std::size_t Vectors, std::size_t Filters = kMostFilters / Halves>
void add_pairs_tiles(const i16* weight, std::size_t stride, const u32* panel, std::size_t filters,
                     std::size_t terms, u32* sums) {
  std::size_t f = 0;
  for (; f + Filters <= filters; f += Filters) {
    add_pairs_tile<Halves, Filters, Vectors>(weight + f * stride, stride, panel, terms,
                                             sums + f * kMostPositions);
  }
  if constexpr (Filters > 1) {
    add_pairs_tiles<Halves, Vectors, Filters / 2>(weight + f * stride, stride, panel, filters - f,
                                                  terms, sums + f * kMostPositions);
  }
}

// A panel (terms, halves, vectors) of the positions from `start` on, of the terms from `first` on.
template <std::size_t Halves, std::size_t Vectors>
void copy_panel(const Convolved& c, const u32* planes, std::size_t start, std::size_t first,
                std::size_t terms, u32* panel) {
  constexpr std::size_t kSize = Vectors * kWordLanes;
  const std::size_t pairs = c.pairs(), plane = c.plane(), pitch = c.pitch();
  std::size_t tap = first / pairs, pair = first % pairs;
  for (std::size_t done = 0; done < terms; tap++, pair = 0) {
    const std::size_t row = tap / c.kernel_width * c.dilation_y;
    const std::size_t offset = row * pitch + tap % c.kernel_width * c.dilation_x;
    const u32* from = planes + offset + start;
    for (; pair < pairs && done < terms; pair++, done++) {
      MOIETY_UNROLL
      for (std::size_t h = 0; h < Halves; h++, panel += kSize)
        std::memcpy(panel, from + (pair * Halves + h) * plane, kSize * sizeof(u32));
    }
  }
}

// One filter's sums of `count` positions from `start` on, to where those that are no gaps belong.
void add_outputs(const Convolved& c, const u32* sums, const u64* added, std::size_t apart,
                 std::size_t start, std::size_t count, u64* to) {
  const std::size_t pitch = c.pitch(), width = c.out_width();
  const int up = c.guard > 0 ? c.guard : 0, down = c.guard < 0 ? -c.guard : 0;
  const u64 mask = ~u64{0} >> (64 - c.bits - c.guard);
  std::size_t row = start / pitch, column = start % pitch;
  for (std::size_t at = 0; at < count; row++, column = 0) {
    const std::size_t some = std::min(count - at, pitch - column);
    const std::size_t inside = column < width ? std::min(some, width - column) : 0;
    const u32* __restrict from = sums + at;
    u64* __restrict out = to + row * width + column;
    if (apart == 1) {
      const u64 same = added[0];
      for (std::size_t i = 0; i < inside; i++)
        out[i] = (out[i] + ((from[i] + same) >> down << up)) & mask;
    } else {
      const u64* __restrict own = added + row * width + column;
      for (std::size_t i = 0; i < inside; i++)
        out[i] = (out[i] + ((from[i] + own[i]) >> down << up)) & mask;
    }
    at += some;
  }
}

template <std::size_t Halves, std::size_t Vectors>
void convolve_tile(const Convolved& c, const u32* planes, const i16* weight, const u64* added,
                   std::size_t apart, std::size_t start, std::size_t count, u64* sums) {
  alignas(64) u32 panel[kPairTerms * Halves * Vectors * kWordLanes];
  alignas(64) u32 tile[kFiltersAtOnce * kMostPositions];
  const std::size_t terms = c.terms(), outputs = c.out_height() * c.out_width();
  for (std::size_t g = 0; g < c.groups; g++, planes += c.pairs() * Halves * c.plane()) {
    for (std::size_t f = 0; f < c.filters; f += kFiltersAtOnce) {
      const std::size_t filters = std::min(kFiltersAtOnce, c.filters - f);
      const std::size_t filter = g * c.filters + f;
      std::memset(tile, 0, filters * kMostPositions * sizeof(u32));
      for (std::size_t first = 0; first < terms; first += kPairTerms) {
        const std::size_t some = std::min(kPairTerms, terms - first);
        copy_panel<Halves, Vectors>(c, planes, start, first, some, panel);
        add_pairs_tiles<Halves, Vectors>(weight + 2 * (filter * terms + first), 2 * terms, panel,
                                         filters, some, tile);
      }
      for (std::size_t i = 0; i < filters; i++) {
        add_outputs(c, tile + i * kMostPositions, added + (filter + i) * apart, apart, start, count,
                    sums + (filter + i) * outputs);
      }
    }
  }
}

template <std::size_t Halves>
void convolve_range(const Convolved& c, const u32* planes, const i16* weight, const u64* added,
                    std::size_t apart, Range positions, u64* sums) {
  // Tiles of about as many vectors each.
  const std::size_t vectors = (positions.size() + kWordLanes - 1) / kWordLanes;
  const std::size_t tiles = (vectors + kMostVectors - 1) / kMostVectors;
  for (std::size_t i = 0; i < tiles; i++) {
    const std::size_t from = vectors * i / tiles, to = vectors * (i + 1) / tiles;
    const std::size_t start = positions.start + from * kWordLanes;
    const std::size_t count = std::min((to - from) * kWordLanes, positions.stop - start);
    const auto convolve = [&]<std::size_t Vectors>() {
      convolve_tile<Halves, Vectors>(c, planes, weight, added, apart, start, count, sums);
    };
    if (to - from == 1) convolve.template operator()<1>();
    if (to - from == 2) convolve.template operator()<2>();
    if constexpr (kMostVectors > 2) {
      if (to - from == 3) convolve.template operator()<3>();
    }
  }
}

void add_convolution(const Convolved& c, const u32* planes, const i16* weight, const u64* added,
                     std::size_t apart, Range positions, u64* sums) {
  if (c.halves() == 2)
    convolve_range<2>(c, planes, weight, added, apart, positions, sums);
  else
    convolve_range<1>(c, planes, weight, added, apart, positions, sums);
}

// Both channels' halves of n integers; that of the high half is written where there are two.
template <bool Two>
void cut_row(const u64* __restrict x, const u64* __restrict y, std::size_t n, u32* __restrict low,
             u32* __restrict high) {
  for (std::size_t i = 0; i < n; i++) {
    const u32 a = static_cast<u32>(x[i]), b = static_cast<u32>(y[i]);
    low[i] = (a & 0xffff) | b << 16;
    // The low half is 2^16 less than its bits say where its highest one is set.
    if constexpr (Two) high[i] = (a + 0x8000) >> 16 | ((b + 0x8000) & 0xffff0000u);
  }
}
template <bool Two>
void cut_last_row(const u64* __restrict x, std::size_t n, u32* __restrict low,
                  u32* __restrict high) {
  for (std::size_t i = 0; i < n; i++) {
    const u32 a = static_cast<u32>(x[i]);
    low[i] = a & 0xffff;
    if constexpr (Two) high[i] = (a + 0x8000) >> 16;
  }
}

template <bool Two>
void cut_planes(const Convolved& c, const u64* x, Range pairs, u32* planes) {
  const std::size_t plane = c.plane(), begin = c.begin(), pitch = c.pitch(), size = c.width;
  const bool gaps = pitch != size;
  const std::size_t rows = gaps ? c.height : 1, width = gaps ? size : c.height * size;
  const std::size_t end = begin + (rows - 1) * pitch + width;
  for (std::size_t p = pairs.start; p < pairs.stop; p++) {
    const std::size_t pair = p % c.pairs(), channel = p / c.pairs() * c.channels + 2 * pair;
    const u64* from = x + channel * c.height * size;
    u32* low = planes + p * (Two ? 2 : 1) * plane;
    for (u32* half = low; half != low + (Two ? 2 : 1) * plane; half += plane) {
      std::memset(half, 0, (gaps ? plane : begin) * sizeof(u32));
      if (!gaps) std::memset(half + end, 0, (plane - end) * sizeof(u32));
    }
    for (std::size_t r = 0; r < rows; r++, from += width) {
      u32* to = low + begin + r * pitch;
      if (2 * pair + 1 < c.channels)
        cut_row<Two>(from, from + c.height * size, width, to, to + plane);
      else
        cut_last_row<Two>(from, width, to, to + plane);
    }
  }
}

void cut_halves(const Convolved& c, const u64* x, Range pairs, u32* planes) {
  if (c.height * c.width == 0) {
    const std::size_t words = c.halves() * c.plane();
    std::memset(planes + pairs.start * words, 0, pairs.size() * words * sizeof(u32));
  } else if (c.halves() == 2) {
    cut_planes<true>(c, x, pairs, planes);
  } else {
    cut_planes<false>(c, x, pairs, planes);
  }
}

constexpr ConvolutionKernels kConvolution{.cut_halves = cut_halves,
                                          .add_convolution = add_convolution};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const ConvolutionKernels& convolution_kernels();  // of the instruction set in use

namespace {

// Nanoseconds of a product of words, and of an integer that is cut.
constexpr double kWordProductCost = 0.02, kCutCost = 0.5;
constexpr u64 kMostPadding = u64{1} << 16;

Convolved checked_convolved(const Array& x, const Array& weight, const std::vector<u64>& pads,
                            const std::vector<u64>& dilations, u64 groups, u64 bits, i64 guard) {
  checked<u64>("x", x, {kAny, kAny, kAny});
  checked<i16>("weight", weight, {kAny, kAny, kAny, kAny});
  if (pads.size() != 4) refuse("pads must be four, got " + std::to_string(pads.size()));
  if (dilations.size() != 2)
    refuse("dilations must be two, got " + std::to_string(dilations.size()));
  for (const u64 pad : pads) check_range("a pad", pad, 0, kMostPadding);
  for (const u64 dilation : dilations) check_range("a dilation", dilation, 1, kMostPadding);
  check_range("groups", groups, 1, u64{1} << 31);
  check_range("bits", bits, 1, 32);
  check_range("guard", guard, 1 - static_cast<i64>(bits), 64 - static_cast<i64>(bits));
  const std::size_t channels = x.shape(0), filters = weight.shape(0);
  if (channels % groups || filters % groups)
    refuse("groups must divide the numbers of channels and of filters");
  const Convolved c{.groups = groups,
                    .channels = channels / groups,
                    .height = x.shape(1),
                    .width = x.shape(2),
                    .filters = filters / groups,
                    .kernel_height = weight.shape(1),
                    .kernel_width = weight.shape(2),
                    .top = pads[0],
                    .left = pads[1],
                    .bottom = pads[2],
                    .right = pads[3],
                    .dilation_y = dilations[0],
                    .dilation_x = dilations[1],
                    .bits = static_cast<int>(bits),
                    .guard = static_cast<int>(guard)};
  checked<i16>("weight", weight, {filters, kAny, kAny, 2 * c.pairs()});
  const auto fits = [](u64 kernel, u64 dilation, u64 padded) {
    check_range("the kernel's size", kernel, 1, kMostPadding);
    check_range("the kernel's reach", dilation * (kernel - 1), 0, padded);
  };
  fits(c.kernel_height, c.dilation_y, c.height + c.top + c.bottom);
  fits(c.kernel_width, c.dilation_x, c.width + c.left + c.right);
  return c;
}

void add_convolution(const Array& x, const Array& weight, const Array& added,
                     const std::vector<u64>& pads, const std::vector<u64>& dilations, u64 groups,
                     u64 bits, i64 guard, const Target& sums, Pool* pool) {
  const Convolved c = checked_convolved(x, weight, pads, dilations, groups, bits, guard);
  const std::size_t filters = c.groups * c.filters, outputs = c.out_height() * c.out_width();
  u64* to = checked<u64>("sums", sums, {filters, c.out_height(), c.out_width()});
  const u64* more = checked<u64>("added", added, {filters, kAny});
  const std::size_t apart = added.shape(1);
  if (apart != 1 && apart != outputs)
    refuse("added must have one number for each filter, or for each sum");
  check_apart("sums", sums, {&x, &weight, &added});
  const auto* from = static_cast<const u64*>(x.data());
  const auto* weights = static_cast<const i16*>(weight.data());
  const ConvolutionKernels& kernels = convolution_kernels();
  if (sums.size() == 0) return;
  const std::size_t pairs = c.groups * c.pairs();
  const std::size_t words = elements_of({pairs, c.halves(), c.plane()}, sizeof(u32));
  const std::unique_ptr<u32, void (*)(void*)> planes(
      static_cast<u32*>(allocate(words * sizeof(u32) + kSlack)), std::free);
  const double terms = static_cast<double>(c.terms() * c.halves()) * 2;
  without_gil(pool, {pairs, kCutCost * static_cast<double>(c.plane()), 1},
              [&](Range at) noexcept { kernels.cut_halves(c, from, at, planes.get()); });
  without_gil(pool, {c.positions(), kWordProductCost * terms * static_cast<double>(filters), 16},
              [&](Range at) noexcept {
                kernels.add_convolution(c, planes.get(), weights, more, apart, at, to);
              });
}

void bind_convolution(nb::module_& m) {
  m.def("add_convolution", &add_convolution, "x"_a, "weight"_a, "added"_a, "pads"_a, "dilations"_a,
        "groups"_a, "bits"_a, "guard"_a, "sums"_a.noconvert(), pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
