// Residues: sums, lifts, encoding, rounding, windows of polynomials.
// reference/rlwe.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#include <cstring>

#include "rlwe/modular.hpp"
#elif defined(MOIETY_BINDINGS)
#include <numeric>

#include "rlwe/arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// n values, of one prime p where one is given, else of `count` primes with residues (count, n).
struct ResidueKernels {
  void (*add_mod)(const u32* x, const u32* y, std::size_t n, u32 p, u32* out);
  void (*lift_small)(const i8* values, std::size_t n, u32 p, u32* out);
  void (*lift_centred)(const u64* x, std::size_t n, int bits, u32 p, u32* out);
  void (*encode_residues)(const u64* x, const u64* dither, std::size_t n, int bits, u64 q_low,
                          u32 inverse, u32 p, u32* out);
  void (*torus_round)(const u32* x, std::size_t n, int count, const u32* primes,
                      const u32* inverses, int bits, u64* out);
  void (*shifted_rows)(const u32* x, std::size_t n, std::size_t degree, i64 offset, i64 stride,
                       std::size_t count, std::size_t length, double* out);
  void (*reduce_products)(const double* x, std::size_t n, u32 p, u32* out);
  void (*crt_signed)(const u32* x, std::size_t n, int count, const u32* primes, int bits, u64* out);
};

#if defined(MOIETY_LOOPS)
namespace {

void add_mod(const u32* x, const u32* y, std::size_t n, u32 p, u32* __restrict out) {
  for (std::size_t i = 0; i < n; i++) out[i] = less(x[i] + y[i], p);
}

void lift_small(const i8* values, std::size_t n, u32 p, u32* __restrict out) {
  for (std::size_t i = 0; i < n; i++) {
    const std::int32_t v = values[i];
    out[i] = static_cast<u32>(v) + (p & static_cast<u32>(v >> 31));
  }
}

void encode_residues(const u64* x, const u64* dither, std::size_t n, int bits, u64 q_low,
                     u32 inverse, u32 p, u32* __restrict out) {
  const u64 low = (u64{1} << bits) - 1;
  const double reciprocal = 1.0 / p;
  const u32 shoup = shoup_of(inverse, p);
  for (std::size_t i = 0; i < n; i++) {
    const u64 t = (x[i] * q_low) & low;
    const i64 up = static_cast<i64>((dither[i] & low) - t) >> 63;  // -1 where the dither is below t
    const i64 negated = (static_cast<i64>(low + 1) & up) - static_cast<i64>(t);
    out[i] = less(times_lazy(reduce_signed(negated, p, reciprocal), inverse, shoup, p), p);
  }
}

void torus_round(const u32* x, std::size_t n, int count, const u32* primes, const u32* inverses,
                 int bits, u64* __restrict out) {
  const u64 half = u64{1} << (63 - bits);
  const int shift = 64 - bits;
  for (std::size_t i = 0; i < n; i++) out[i] = half;
  for (int l = 0; l < count; l++) {
    const u32 p = primes[l], inverse = inverses[l], shoup = shoup_of(inverse, p);
    const double reciprocal = 1.0 / p;
    const u32* __restrict residues = x + l * n;
    for (std::size_t i = 0; i < n; i++) {
      u64 rest, unused;
      const u64 first =
          divide32(less(times_lazy(residues[i], inverse, shoup, p), p), p, reciprocal, rest);
      out[i] += (first << 32) | divide32(rest, p, reciprocal, unused);
    }
  }
  for (std::size_t i = 0; i < n; i++) out[i] >>= shift;
}

void shifted_rows(const u32* x, std::size_t n, std::size_t degree, i64 offset, i64 stride,
                  std::size_t count, std::size_t length, double* __restrict out) {
  const i64 size = static_cast<i64>(degree);
  for (std::size_t i = 0; i < n; i++) {
    for (std::size_t c = 0; c < count; c++) {
      double* row = out + (i * count + c) * length;
      i64 index = offset + static_cast<i64>(c) * stride;
      for (std::size_t done = 0; done < length;) {
        const i64 turn = index >= 0 ? index / size : -((size - 1 - index) / size);
        const i64 start = index - turn * size;
        const std::size_t part = std::min(length - done, static_cast<std::size_t>(size - start));
        const u32* from = x + i * degree + start;
        const double sign = turn % 2 ? -1.0 : 1.0;
        for (std::size_t j = 0; j < part; j++)
          row[done + j] = sign * static_cast<std::int32_t>(from[j]);
        done += part;
        index += static_cast<i64>(part);
      }
    }
  }
}

void reduce_products(const double* x, std::size_t n, u32 p, u32* __restrict out) {
  const double reciprocal = 1.0 / p;
  for (std::size_t i = 0; i < n; i++) out[i] = reduce_signed(static_cast<i64>(x[i]), p, reciprocal);
}

void lift_centred(const u64* x, std::size_t n, int bits, u32 p, u32* __restrict out) {
  const double reciprocal = 1.0 / p;
  const int shift = 64 - bits;
  for (std::size_t i = 0; i < n; i++)
    out[i] = reduce_signed(static_cast<i64>(x[i] << shift) >> shift, p, reciprocal);
}

u32 inverse_mod(u32 value, u32 p) {  // Fermat
  u64 result = 1, power = value % p;
  for (u32 e = p - 2; e; e >>= 1, power = power * power % p) {
    if (e & 1) result = result * power % p;
  }
  return static_cast<u32>(result);
}

void crt_signed(const u32* x, std::size_t n, int count, const u32* primes, int bits,
                u64* __restrict out) {
  constexpr std::size_t kBlock = 512;
  alignas(64) u32 digits[kMaxPrimes][kBlock];
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t size = std::min(kBlock, n - first);
    u64* __restrict o = out + first;
    std::memset(o, 0, size * sizeof(u64));
    u64 radix = 1;
    for (int i = 0; i < count; i++) {
      const u32 p = primes[i];
      u32* __restrict value = digits[i];
      std::memcpy(value, x + i * n + first, size * sizeof(u32));
      for (int j = 0; j < i; j++) {
        const u32 w = inverse_mod(primes[j], p), shoup = shoup_of(w, p), one = shoup_of(1, p);
        const u32* __restrict digit = digits[j];
        for (std::size_t k = 0; k < size; k++) {
          const u32 other = less(times_lazy(digit[k], 1, one, p), p);
          value[k] = less(times_lazy(value[k] + p - other, w, shoup, p), p);
        }
      }
      for (std::size_t k = 0; k < size; k++) o[k] += value[k] * radix;
      radix *= p;
    }
    const u32* __restrict top = digits[count - 1];
    const u32 half = primes[count - 1] / 2;
    const u64 mask = (u64{1} << bits) - 1;
    for (std::size_t k = 0; k < size; k++)
      o[k] = (o[k] - (radix & (u64{0} - (top[k] > half)))) & mask;
  }
}

constexpr ResidueKernels kResidues{.add_mod = add_mod,
                                   .lift_small = lift_small,
                                   .lift_centred = lift_centred,
                                   .encode_residues = encode_residues,
                                   .torus_round = torus_round,
                                   .shifted_rows = shifted_rows,
                                   .reduce_products = reduce_products,
                                   .crt_signed = crt_signed};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const ResidueKernels& residue_kernels();  // of the instruction set in use

namespace {

Out<u32> add_mod(const Array& x, const Array& y, const Array& primes) {
  const Primes p = checked_primes(primes);
  const u32* one = checked<u32>("x", x, {p.count, kAny});
  const std::size_t n = x.shape(1);
  const u32* other = checked<u32>("y", y, {p.count, n});
  const ResidueKernels& kernels = residue_kernels();
  return per_prime({p.count, n}, [&](std::size_t i, u32* out) {
    kernels.add_mod(one + i * n, other + i * n, n, p[i], out);
  });
}

Out<u32> lift_small(const Array& values, const Array& primes) {
  const Primes p = checked_primes(primes);
  const i8* from = checked<i8>("values", values, {kAny});
  const std::size_t n = values.shape(0);
  const ResidueKernels& kernels = residue_kernels();
  return per_prime({p.count, n},
                   [&](std::size_t i, u32* out) { kernels.lift_small(from, n, p[i], out); });
}

Out<u32> lift_centred(const Array& x, u64 bits, const Array& primes) {
  const Primes p = checked_primes(primes);
  const u64* from = checked<u64>("x", x, {kAny});
  check_range("bits", bits, 1, 60);
  const std::size_t n = x.shape(0);
  const ResidueKernels& kernels = residue_kernels();
  return per_prime({p.count, n}, [&](std::size_t i, u32* out) {
    kernels.lift_centred(from, n, static_cast<int>(bits), p[i], out);
  });
}

Out<u32> encode_residues(const Array& x, const Array& dither, u64 bits, u64 q_low,
                         const Array& inverses, const Array& primes) {
  const Primes p = checked_primes(primes);
  const u64* from = checked<u64>("x", x, {kAny});
  const std::size_t n = x.shape(0);
  const u64* noise = checked<u64>("dither", dither, {n});
  check_range("bits", bits, 1, 60);
  const u32* inverse = checked_residues("inverses", inverses, p);
  const ResidueKernels& kernels = residue_kernels();
  return per_prime({p.count, n}, [&](std::size_t i, u32* out) {
    kernels.encode_residues(from, noise, n, static_cast<int>(bits), q_low, inverse[i], p[i], out);
  });
}

Out<u64> torus_round(const Array& x, const Array& primes, const Array& inverses, u64 bits) {
  const Primes p = checked_primes(primes);
  const u32* from = checked<u32>("x", x, {p.count, kAny});
  const u32* inverse = checked_residues("inverses", inverses, p);
  check_range("bits", bits, 1, 63);
  const std::size_t n = x.shape(1);
  const ResidueKernels& kernels = residue_kernels();
  const Output<u64> out({n});
  without_gil([&] {
    kernels.torus_round(from, n, static_cast<int>(p.count), p.data, inverse, static_cast<int>(bits),
                        out.data());
  });
  return out.array();
}

// Windows begin, and end, within so many coefficients.
constexpr i64 kFar = i64{1} << 31;

Out<double> shifted_rows(const Array& x, i64 offset, i64 stride, u64 count, u64 length) {
  const u32* from = checked<u32>("x", x, {kAny, kAny});
  const std::size_t n = x.shape(0), degree = x.shape(1);
  check_range("the degree", u64{degree}, 1, u64{kFar});
  check_range("offset", offset, -kFar, kFar);
  check_range("stride", stride, -kFar, kFar);
  check_range("count", count, 0, u64{kFar});
  check_range("length", length, 0, u64{kFar});
  const ResidueKernels& kernels = residue_kernels();
  const Output<double> out({elements_of({n, count}, 1), length});
  if (out.size() == 0) return out.array();
  without_gil(
      [&] { kernels.shifted_rows(from, n, degree, offset, stride, count, length, out.data()); });
  return out.array();
}

Out<u32> reduce_products(const Array& x, u64 prime) {
  const double* from = checked<double>("x", x);
  check_prime(prime);
  std::vector<std::size_t> shape;
  for (std::size_t i = 0; i < x.ndim(); i++) shape.push_back(x.shape(i));
  const ResidueKernels& kernels = residue_kernels();
  const Output<u32> out(shape);
  without_gil(
      [&] { kernels.reduce_products(from, out.size(), static_cast<u32>(prime), out.data()); });
  return out.array();
}

Out<u64> crt_signed(const Array& x, const Array& primes, u64 bits) {
  const Primes p = checked_primes(primes);
  const u32* from = checked<u32>("x", x, {p.count, kAny});
  check_range("bits", bits, 1, 63);
  for (std::size_t i = 0; i < p.count; i++) {
    for (std::size_t j = 0; j < i; j++) {
      if (std::gcd(p[i], p[j]) != 1) refuse("primes must have no common factor");
    }
  }
  const std::size_t n = x.shape(1);
  const ResidueKernels& kernels = residue_kernels();
  const Output<u64> out({n});
  without_gil([&] {
    kernels.crt_signed(from, n, static_cast<int>(p.count), p.data, static_cast<int>(bits),
                       out.data());
  });
  return out.array();
}

void bind_residues(nb::module_& m) {
  m.def("add_mod", &add_mod, "x"_a, "y"_a, "primes"_a);
  m.def("lift_small", &lift_small, "values"_a, "primes"_a);
  m.def("lift_centred", &lift_centred, "x"_a, "bits"_a, "primes"_a);
  m.def("encode_residues", &encode_residues, "x"_a, "dither"_a, "bits"_a, "q_low"_a, "inverses"_a,
        "primes"_a);
  m.def("torus_round", &torus_round, "x"_a, "primes"_a, "inverses"_a, "bits"_a);
  m.def("shifted_rows", &shifted_rows, "x"_a, "offset"_a, "stride"_a, "count"_a, "length"_a);
  m.def("reduce_products", &reduce_products, "x"_a, "prime"_a);
  m.def("crt_signed", &crt_signed, "x"_a, "primes"_a, "bits"_a);
}

}  // namespace
#endif

}  // namespace moiety
