// Number-theoretic transforms and products of transforms. reference/rlwe.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "rlwe/modular.hpp"
#elif defined(MOIETY_BINDINGS)
#include "rlwe/arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// One prime at a time: n polynomials of the given degree, tables (4, degree). Transforms are in
// place; `scratch` holds `degree` words.
struct NttKernels {
  void (*ntt_forward)(u32* x, std::size_t n, std::size_t degree, u32 p, const u32* tables);
  void (*ntt_inverse)(u32* x, std::size_t n, std::size_t degree, u32 p, const u32* tables);
  void (*multiply_mod)(const u32* x, const u32* y, std::size_t n, std::size_t degree, u32 p,
                       u32* scratch, u32* out);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr std::size_t kLane = 16;  // the last four layers work on transposed 16x16 squares
constexpr std::size_t kSquare = kLane * kLane;
constexpr std::size_t kTail = kLane - 1;  // twiddle vectors per square: 1 + 2 + 4 + 8

// One layer's butterflies between a[0..n) and b[0..n), n a multiple of 16, with one twiddle for all
// (kOne) or one per lane of 16. Forward: values below 4p in and out; inverse: below 2p (Harvey
// 2014).
#if defined(__AVX512F__)
inline __m512i high_product(__m512i y, __m512i s) {
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(y, s), 32);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(y, 32), _mm512_srli_epi64(s, 32));
  return _mm512_mask_blend_epi32(0xaaaa, even, odd);
}

inline __m512i times_lazy(__m512i y, __m512i w, __m512i s, __m512i p) {
  return _mm512_sub_epi32(_mm512_mullo_epi32(y, w), _mm512_mullo_epi32(high_product(y, s), p));
}

inline __m512i less(__m512i x, __m512i p) { return _mm512_min_epu32(x, _mm512_sub_epi32(x, p)); }

template <bool kOne>
inline void butterflies(u32* a, u32* b, std::size_t n, const u32* w, const u32* s, u32 p) {
  const __m512i vp = _mm512_set1_epi32(static_cast<int>(p)), vp2 = _mm512_add_epi32(vp, vp);
  const __m512i vw = kOne ? _mm512_set1_epi32(static_cast<int>(*w)) : _mm512_loadu_si512(w);
  const __m512i vs = kOne ? _mm512_set1_epi32(static_cast<int>(*s)) : _mm512_loadu_si512(s);
  for (std::size_t j = 0; j < n; j += 16) {
    const __m512i x = less(_mm512_loadu_si512(a + j), vp2);
    const __m512i y = times_lazy(_mm512_loadu_si512(b + j), vw, vs, vp);
    _mm512_storeu_si512(a + j, _mm512_add_epi32(x, y));
    _mm512_storeu_si512(b + j, _mm512_add_epi32(_mm512_sub_epi32(x, y), vp2));
  }
}

template <bool kOne>
inline void inverse_butterflies(u32* a, u32* b, std::size_t n, const u32* w, const u32* s, u32 p) {
  const __m512i vp = _mm512_set1_epi32(static_cast<int>(p)), vp2 = _mm512_add_epi32(vp, vp);
  const __m512i vw = kOne ? _mm512_set1_epi32(static_cast<int>(*w)) : _mm512_loadu_si512(w);
  const __m512i vs = kOne ? _mm512_set1_epi32(static_cast<int>(*s)) : _mm512_loadu_si512(s);
  for (std::size_t j = 0; j < n; j += 16) {
    const __m512i x = _mm512_loadu_si512(a + j), y = _mm512_loadu_si512(b + j);
    _mm512_storeu_si512(a + j, less(_mm512_add_epi32(x, y), vp2));
    _mm512_storeu_si512(b + j,
                        times_lazy(_mm512_add_epi32(_mm512_sub_epi32(x, y), vp2), vw, vs, vp));
  }
}
#else
template <bool kOne>
inline void butterflies(u32* __restrict a, u32* __restrict b, std::size_t n, const u32* w,
                        const u32* s, u32 p) {
  for (std::size_t j = 0; j < n; j += kLane) {
    for (std::size_t lane = 0; lane < kLane; lane++) {
      const u32 x = less(a[j + lane], 2 * p);
      const u32 y = times_lazy(b[j + lane], w[kOne ? 0 : lane], s[kOne ? 0 : lane], p);
      a[j + lane] = x + y;
      b[j + lane] = x - y + 2 * p;
    }
  }
}

template <bool kOne>
inline void inverse_butterflies(u32* __restrict a, u32* __restrict b, std::size_t n, const u32* w,
                                const u32* s, u32 p) {
  for (std::size_t j = 0; j < n; j += kLane) {
    for (std::size_t lane = 0; lane < kLane; lane++) {
      const u32 x = a[j + lane], y = b[j + lane];
      a[j + lane] = less(x + y, 2 * p);
      b[j + lane] = times_lazy(x - y + 2 * p, w[kOne ? 0 : lane], s[kOne ? 0 : lane], p);
    }
  }
}
#endif

#if defined(__AVX512F__)
inline void transpose(const u32* in, u32* out) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(in + 16 * i);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(out + 16 * i, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
    _mm512_storeu_si512(out + 16 * (i + 8), _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
    _mm512_storeu_si512(out + 16 * (i + 4), _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0x88));
    _mm512_storeu_si512(out + 16 * (i + 12), _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0xdd));
  }
}
#else
inline void transpose(const u32* in, u32* out) {
  for (std::size_t i = 0; i < kLane; i++) {
    for (std::size_t j = 0; j < kLane; j++) out[j * kLane + i] = in[i * kLane + j];
  }
}
#endif

// Twiddles of the last four layers in the order in which the transposed squares use them:
// [square][group vector][lane]. Not a std::vector, whose code the linker could merge with
// another's.
class TailTwiddles {
 public:
  TailTwiddles(const u32* table, std::size_t degree);
  ~TailTwiddles() { delete[] data_; }
  TailTwiddles(const TailTwiddles&) = delete;
  TailTwiddles& operator=(const TailTwiddles&) = delete;
  const u32* data() const { return data_; }

 private:
  u32* data_;
};

TailTwiddles::TailTwiddles(const u32* table, std::size_t degree)
    : data_(new u32[degree / kSquare * kTail * kLane]) {
  u32* next = data_;
  for (std::size_t square = 0; square < degree / kSquare; square++) {
    for (std::size_t groups = 1; groups < kLane; groups *= 2) {
      for (std::size_t g = 0; g < groups; g++) {
        for (std::size_t lane = 0; lane < kLane; lane++) {
          *next++ = table[degree / kLane * groups + (square * kLane + lane) * groups + g];
        }
      }
    }
  }
}

void ntt_forward(u32* data, std::size_t n, std::size_t degree, u32 p, const u32* tables) {
  const u32 *roots = tables, *shoups = tables + degree;
  const TailTwiddles tail(roots, degree), tail_shoup(shoups, degree);
  for (std::size_t poly = 0; poly < n; poly++) {
    u32* x = data + poly * degree;
    for (std::size_t m = 1, t = degree / 2; t >= kLane; m *= 2, t /= 2) {
      for (std::size_t i = 0; i < m; i++)
        butterflies<true>(x + 2 * i * t, x + (2 * i + 1) * t, t, roots + m + i, shoups + m + i, p);
    }
    const u32 *w = tail.data(), *s = tail_shoup.data();
    for (std::size_t square = 0; square < degree; square += kSquare) {
      alignas(64) u32 v[kSquare];
      transpose(x + square, v);
      for (std::size_t groups = 1, t = kSquare / 2; groups < kLane; groups *= 2, t /= 2) {
        for (std::size_t g = 0; g < groups; g++, w += kLane, s += kLane)
          butterflies<false>(v + 2 * g * t, v + (2 * g + 1) * t, t, w, s, p);
      }
      for (std::size_t j = 0; j < kSquare; j++) v[j] = less(less(v[j], 2 * p), p);
      transpose(v, x + square);
    }
  }
}

void ntt_inverse(u32* data, std::size_t n, std::size_t degree, u32 p, const u32* tables) {
  const u32 *roots = tables + 2 * degree, *shoups = tables + 3 * degree;
  const TailTwiddles tail(roots, degree), tail_shoup(shoups, degree);
  for (std::size_t poly = 0; poly < n; poly++) {
    u32* x = data + poly * degree;
    const u32 *w = tail.data(), *s = tail_shoup.data();
    for (std::size_t square = 0; square < degree;
         square += kSquare, w += kTail * kLane, s += kTail * kLane) {
      alignas(64) u32 v[kSquare];
      transpose(x + square, v);
      for (std::size_t groups = kLane / 2, t = kLane; groups >= 1; groups /= 2, t *= 2) {
        for (std::size_t g = 0; g < groups; g++) {
          const std::size_t twiddle = (groups - 1 + g) * kLane;
          inverse_butterflies<false>(v + 2 * g * t, v + (2 * g + 1) * t, t, w + twiddle,
                                     s + twiddle, p);
        }
      }
      transpose(v, x + square);
    }
    for (std::size_t m = degree / kLane / 2, t = kLane; m >= 1; m /= 2, t *= 2) {
      for (std::size_t i = 0; i < m; i++) {
        inverse_butterflies<true>(x + 2 * i * t, x + (2 * i + 1) * t, t, roots + m + i,
                                  shoups + m + i, p);
      }
    }
    for (std::size_t j = 0; j < degree; j++)
      x[j] = less(times_lazy(x[j], roots[0], shoups[0], p), p);
  }
}

void multiply_mod(const u32* x, const u32* y, std::size_t n, std::size_t degree, u32 p,
                  u32* scratch, u32* out) {
  // y may be a secret: not `shoup_of`, whose division takes a time that depends on the dividend on
  // many processors.
  const double reciprocal = 1.0 / p;
  for (std::size_t j = 0; j < degree; j++) {
    u64 unused;
    scratch[j] = static_cast<u32>(divide32(y[j], p, reciprocal, unused));
  }
  for (std::size_t poly = 0; poly < n; poly++) {
    const u32* a = x + poly * degree;
    u32* __restrict o = out + poly * degree;
    for (std::size_t j = 0; j < degree; j++) o[j] = less(times_lazy(a[j], y[j], scratch[j], p), p);
  }
}

constexpr NttKernels kNtt{
    .ntt_forward = ntt_forward, .ntt_inverse = ntt_inverse, .multiply_mod = multiply_mod};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const NttKernels& ntt_kernels();  // of the instruction set in use

namespace {

template <class Transform>
Out<u32> transform(Transform kernel, const Array& x, const Array& primes, const Array& tables) {
  const Primes p = checked_primes(primes);
  const u32* from = checked<u32>("x", x, {p.count, kAny, kAny});
  const std::size_t n = x.shape(1), degree = x.shape(2);
  check_degree(degree);
  const u32* roots = checked<u32>("tables", tables, {p.count, 4, degree});
  return per_prime({p.count, n, degree}, [&](std::size_t i, u32* out) {
    std::copy_n(from + i * n * degree, n * degree, out);
    kernel(out, n, degree, p[i], roots + i * 4 * degree);
  });
}

Out<u32> ntt_forward(const Array& x, const Array& primes, const Array& tables) {
  return transform(ntt_kernels().ntt_forward, x, primes, tables);
}

Out<u32> ntt_inverse(const Array& x, const Array& primes, const Array& tables) {
  return transform(ntt_kernels().ntt_inverse, x, primes, tables);
}

Out<u32> multiply_mod(const Array& x, const Array& y, const Array& primes) {
  const Primes p = checked_primes(primes);
  const u32* one = checked<u32>("x", x, {p.count, kAny, kAny});
  const std::size_t n = x.shape(1), degree = x.shape(2);
  check_degree(degree);
  const u32* other = checked<u32>("y", y, {p.count, degree});
  const NttKernels& kernels = ntt_kernels();
  std::vector<u32> scratch(degree);
  return per_prime({p.count, n, degree}, [&](std::size_t i, u32* out) {
    kernels.multiply_mod(one + i * n * degree, other + i * degree, n, degree, p[i], scratch.data(),
                         out);
  });
}

void bind_ntt(nb::module_& m) {
  m.def("ntt_forward", &ntt_forward, "x"_a, "primes"_a, "tables"_a);
  m.def("ntt_inverse", &ntt_inverse, "x"_a, "primes"_a, "tables"_a);
  m.def("multiply_mod", &multiply_mod, "x"_a, "y"_a, "primes"_a);
}

}  // namespace
#endif

}  // namespace moiety
