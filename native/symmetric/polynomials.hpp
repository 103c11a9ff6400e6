// A hash of rows as polynomials over F_16. reference/polynomials.py specifies it.
#pragma once

#if defined(MOIETY_LOOPS)
#include "symmetric/vole.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// `elements` may be null. hash: 4 times 32 bytes; sums: 4 times 16, untouched without elements.
struct PolynomialKernels {
  void (*polynomial_hash)(const u8* rows, const u8* elements, std::size_t n, const u8* key,
                          u64 counter, u8* hash, u8* sums);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr int kPlanes = 4;                        // bits of an element of F_16
constexpr std::size_t kBlock = 16;                // rows that four coefficients are for
constexpr std::size_t kCoefficients = 256;        // made at once
constexpr std::size_t kRows = 4 * kCoefficients;  // that they are for
constexpr int kHashBytes = 32, kSumsBytes = 16;   // of a plane

// The coefficients of `count` rows, from block number `first` of AES-CTR on, less their top bits.
void make_coefficients(const Schedule& key, u64 first, std::size_t count, u8* to) {
  constexpr int N = 8;
  alignas(16) static constexpr u64 kMask[2] = {~u64{0}, ~u64{0} >> 3};
  const Reg mask = V::bcast(reinterpret_cast<const u8*>(kMask));
  for (std::size_t at = 0; 4 * at < count; at += N * kB) {
    Reg state[N];
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) state[i] = counters(first + at + i * kB);
    encrypt(key, state);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) V::store(to + 16 * at + i * kVecBytes, V::band(state[i], mask));
  }
}

// Exchanges bits Shift, .. of every nibble of x with bits 0, .. of y.
template <int Shift>
MOIETY_INLINE void exchange(Reg& x, Reg& y, u64 mask) {
  const Reg t = V::band(V::bxor(V::template right64<Shift>(x), y), V::set64(mask));
  x = V::bxor(x, V::template left64<Shift>(t)), y = V::bxor(y, t);
}
template <int Shift>
MOIETY_INLINE void exchange(u32& x, u32& y, u64 mask) {
  const u32 t = ((x >> Shift) ^ y) & static_cast<u32>(mask);
  x ^= t << Shift, y ^= t;
}

// Nibbles of four words to theirs by planes: bit b of word j becomes bit j of word b.
template <class T>
MOIETY_INLINE void nibbles_to_planes(T (&x)[4]) {
  exchange<2>(x[0], x[2], 0x3333333333333333ull);
  exchange<2>(x[1], x[3], 0x3333333333333333ull);
  exchange<1>(x[0], x[1], 0x5555555555555555ull);
  exchange<1>(x[2], x[3], 0x5555555555555555ull);
}

// Sums of products, of the halves and of the halves' sums (Karatsuba): a lane for each coefficient.
struct Products {
  Reg low[kPlanes], middle[kPlanes], high[kPlanes];
};

void add_rows(const u8* rows, const u8* coefficients, std::size_t blocks, Products& sums) {
  Products made = sums;
  for (std::size_t at = 0; at < 4 * blocks; at += kB) {  // number of a coefficient
    const u8* from = rows + 64 * (at & ~std::size_t{3}) + 16 * (at & 3);
    Reg x[4];
    MOIETY_UNROLL
    for (int j = 0; j < 4; j++) x[j] = V::load(from + 64 * j);
    nibbles_to_planes(x);
    const Reg c = V::load(coefficients + 16 * at), both = V::bxor(c, V::swap64(c));
    MOIETY_UNROLL
    for (int b = 0; b < kPlanes; b++) {
      const Reg halves = V::bxor(x[b], V::swap64(x[b]));
      made.low[b] = V::bxor(made.low[b], V::template clmul<0x00>(x[b], c));
      made.middle[b] = V::bxor(made.middle[b], V::template clmul<0x00>(halves, both));
      made.high[b] = V::bxor(made.high[b], V::template clmul<0x11>(x[b], c));
    }
  }
  sums = made;
}

// The sum of all lanes, added to a number in memory.
MOIETY_INLINE void add_lanes(Reg x, u8* to) {
  alignas(64) u8 lanes[kVecBytes];
  V::store(lanes, x);
  Lanes<1>::Reg sum = Lanes<1>::load(to);
  for (int i = 0; i < kB; i++) sum = Lanes<1>::bxor(sum, Lanes<1>::load(lanes + 16 * i));
  Lanes<1>::store(to, sum);
}

void finish_rows(const Products& sums, u8* hash) {
  std::memset(hash, 0, kPlanes * kHashBytes);
  for (int b = 0; b < kPlanes; b++) {
    u8* plane = hash + kHashBytes * b;
    add_lanes(sums.low[b], plane);
    add_lanes(sums.high[b], plane + 16);
    add_lanes(V::xor3(sums.low[b], sums.middle[b], sums.high[b]), plane + 8);
  }
}

// Sums of elements times coefficients, a lane for each coefficient.
struct ElementSums {
  Reg low[kPlanes] = {}, high[kPlanes] = {};

  void add(const u8* elements, const u8* coefficients, std::size_t n) {
    alignas(64) u8 spread[4][2][16];  // [coefficient][pair of planes]: a plane in either half
    std::memset(spread, 0x80, sizeof spread);
    for (u8 at = 0; at < 4; at++) {
      for (u8 b = 0; b < kPlanes; b++) spread[at][b / 2][b % 2 * 8] = static_cast<u8>(4 * b + at);
    }
    for (std::size_t block = 0; block < n; block += kBlock) {
      u32 words[4];
      std::memcpy(words, elements + block, kBlock);
      nibbles_to_planes(words);
      for (u32& word : words) word &= 0x0f0f0f0f;
      const Reg planes = V::unpack_lo64(V::set64(words[0] | u64{words[1]} << 32),
                                        V::set64(words[2] | u64{words[3]} << 32));
      MOIETY_UNROLL
      for (int at = 0; at < 4; at += kB) {
        const Reg c = V::load(coefficients + 4 * block + 16 * at);
        MOIETY_UNROLL
        for (int b = 0; b < kPlanes; b += 2) {
          const Reg two = V::shuffle8(planes, V::template load_lanes<32>(spread[at][b / 2]));
          low[b] = V::bxor(low[b], V::template clmul<0x00>(c, two));
          high[b] = V::bxor(high[b], V::template clmul<0x01>(c, two));
          low[b + 1] = V::bxor(low[b + 1], V::template clmul<0x10>(c, two));
          high[b + 1] = V::bxor(high[b + 1], V::template clmul<0x11>(c, two));
        }
      }
    }
  }

  void finish(u8* sums) const {
    alignas(16) u8 numbers[kPlanes][kHashBytes] = {};
    for (int b = 0; b < kPlanes; b++) {
      add_lanes(low[b], numbers[b]);
      add_lanes(high[b], numbers[b] + 8);
      std::memcpy(sums + kSumsBytes * b, numbers[b], kSumsBytes);
    }
  }
};

void polynomial_hash(const u8* rows, const u8* elements, std::size_t n, const u8* key, u64 counter,
                     u8* hash, u8* sums) {
  Schedule schedule;
  expand_key(key, schedule);
  alignas(64) u8 coefficients[16 * kCoefficients] = {};
  Products products = {};
  ElementSums of_elements;
  for (std::size_t at = 0; at < n; at += kRows) {
    const std::size_t count = least(kRows, n - at);
    make_coefficients(schedule, counter + at / 4, count, coefficients);
    const std::size_t whole = count / kBlock * kBlock;
    add_rows(rows + 16 * at, coefficients, whole / kBlock, products);
    if (elements != nullptr) of_elements.add(elements + at, coefficients, whole);
    if (whole == count) continue;
    alignas(64) u8 edge[16 * kBlock] = {}, of_edge[kBlock] = {};
    std::memcpy(edge, rows + 16 * (at + whole), 16 * (count - whole));
    add_rows(edge, coefficients + 4 * whole, 1, products);
    if (elements == nullptr) continue;
    std::memcpy(of_edge, elements + at + whole, count - whole);
    of_elements.add(of_edge, coefficients + 4 * whole, kBlock);
  }
  finish_rows(products, hash);
  if (elements != nullptr) of_elements.finish(sums);
}

constexpr PolynomialKernels kPolynomials{.polynomial_hash = polynomial_hash};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const PolynomialKernels& polynomial_kernels();  // of the instruction set in use

namespace {

nb::tuple polynomial_hash(const Array& rows, const Array& elements, const Array& key, u64 counter) {
  const u8* from = checked<u8>("rows", rows, {kAny, 16});
  const std::size_t n = rows.shape(0);
  const u8* of = checked<u8>("elements", elements, {kAny});
  if (elements.shape(0) != 0 && elements.shape(0) != n) {
    refuse("elements must be as many as rows, or none");
  }
  const u8* k = checked<u8>("key", key, {16});
  const PolynomialKernels& kernels = polynomial_kernels();
  const Output<u8> hash({4, 32}), sums({4, 16});
  std::memset(sums.data(), 0, 4 * 16);
  without_gil([&] {
    kernels.polynomial_hash(from, elements.shape(0) ? of : nullptr, n, k, counter, hash.data(),
                            sums.data());
  });
  return nb::make_tuple(hash.array(), sums.array());
}

void bind_polynomials(nb::module_& m) {
  m.def("polynomial_hash", &polynomial_hash, "rows"_a, "elements"_a, "key"_a, "counter"_a);
}

}  // namespace
#endif

}  // namespace moiety
