// The loops of the RLWE kernels, plain C++ that compilers vectorise; compiled once per instruction set with its own flags.
// Internal linkage throughout: the linker must not merge copies made with different flags.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "rlwe.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace moiety {
namespace {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

// --- modular arithmetic -------------------------------------------------------------------------------------------------

// w * y mod p in [0, 2p) for any 32-bit y; shoup = floor(2^32 w / p) (Shoup; Harvey 2014).
inline u32 times_lazy(u32 y, u32 w, u32 shoup, u32 p) {
  const u32 quotient = static_cast<u32>((static_cast<u64>(y) * shoup) >> 32);
  return y * w - quotient * p;
}

// Of public w: division takes a time that depends on its operands.
inline u32 shoup_of(u32 w, u32 p) { return static_cast<u32>((static_cast<u64>(w) << 32) / p); }

// x - p if that is not negative: one conditional subtraction without a branch.
inline u32 less(u32 x, u32 p) { return std::min(x, x - p); }

// v mod p for |v| < 2^62: the float64 quotient is off by at most one.
inline u32 reduce_signed(i64 v, i64 p, double inverse) {
  const i64 quotient = static_cast<i64>(static_cast<double>(v) * inverse);
  i64 r = v - quotient * p;
  r += p & (r >> 63);
  r += p & (r >> 63);
  r -= p;
  r += p & (r >> 63);
  return static_cast<u32>(r);
}

// floor(y * 2^32 / p) and the remainder, y < p < 2^30.
inline u64 divide32(u64 y, i64 p, double reciprocal, u64& rest) {
  const i64 shifted = static_cast<i64>(y << 32);
  i64 quotient = static_cast<i64>(static_cast<double>(shifted) * reciprocal);
  i64 r = shifted - quotient * p;
  const i64 below = r >> 63;  // -1 where the quotient is one too large
  quotient += below;
  r += p & below;
  const i64 above = ~((r - p) >> 63);  // -1 where it is one too small
  quotient -= above;
  r -= p & above;
  rest = static_cast<u64>(r);
  return static_cast<u64>(quotient);
}

// --- number-theoretic transform ------------------------------------------------------------------------------------------

constexpr std::size_t kLane = 16;               // the last four layers work on transposed 16x16 squares
constexpr std::size_t kSquare = kLane * kLane;
constexpr std::size_t kTail = kLane - 1;        // twiddle vectors per square: 1 + 2 + 4 + 8

// One layer's butterflies between a[0..n) and b[0..n), n a multiple of 16, with one twiddle for all (kOne) or one per lane of 16.
// Forward: values below 4p in and out; inverse: below 2p (Harvey 2014).
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
    _mm512_storeu_si512(b + j, times_lazy(_mm512_add_epi32(_mm512_sub_epi32(x, y), vp2), vw, vs, vp));
  }
}
#else
template <bool kOne>
inline void butterflies(u32* __restrict a, u32* __restrict b, std::size_t n, const u32* w, const u32* s, u32 p) {
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
inline void inverse_butterflies(u32* __restrict a, u32* __restrict b, std::size_t n, const u32* w, const u32* s, u32 p) {
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

// Twiddles of the last four layers in the order in which the transposed squares use them: [square][group vector][lane].
std::vector<u32> tail_twiddles(const u32* table, std::size_t degree) {
  std::vector<u32> out(degree / kSquare * kTail * kLane);
  u32* next = out.data();
  for (std::size_t square = 0; square < degree / kSquare; square++) {
    for (std::size_t groups = 1; groups < kLane; groups *= 2) {
      for (std::size_t g = 0; g < groups; g++) {
        for (std::size_t lane = 0; lane < kLane; lane++) {
          *next++ = table[degree / kLane * groups + (square * kLane + lane) * groups + g];
        }
      }
    }
  }
  return out;
}

void forward(u32* data, std::size_t n, std::size_t degree, u32 p, const u32* tables) {
  const u32 *roots = tables, *shoups = tables + degree;
  const std::vector<u32> tail = tail_twiddles(roots, degree), tail_shoup = tail_twiddles(shoups, degree);
  for (std::size_t poly = 0; poly < n; poly++) {
    u32* x = data + poly * degree;
    for (std::size_t m = 1, t = degree / 2; t >= kLane; m *= 2, t /= 2) {
      for (std::size_t i = 0; i < m; i++) butterflies<true>(x + 2 * i * t, x + (2 * i + 1) * t, t, roots + m + i, shoups + m + i, p);
    }
    const u32 *w = tail.data(), *s = tail_shoup.data();
    for (std::size_t square = 0; square < degree; square += kSquare) {
      alignas(64) u32 v[kSquare];
      transpose(x + square, v);
      for (std::size_t groups = 1, t = kSquare / 2; groups < kLane; groups *= 2, t /= 2) {
        for (std::size_t g = 0; g < groups; g++, w += kLane, s += kLane) butterflies<false>(v + 2 * g * t, v + (2 * g + 1) * t, t, w, s, p);
      }
      for (std::size_t j = 0; j < kSquare; j++) v[j] = less(less(v[j], 2 * p), p);
      transpose(v, x + square);
    }
  }
}

void inverse(u32* data, std::size_t n, std::size_t degree, u32 p, const u32* tables) {
  const u32 *roots = tables + 2 * degree, *shoups = tables + 3 * degree;
  const std::vector<u32> tail = tail_twiddles(roots, degree), tail_shoup = tail_twiddles(shoups, degree);
  for (std::size_t poly = 0; poly < n; poly++) {
    u32* x = data + poly * degree;
    const u32 *w = tail.data(), *s = tail_shoup.data();
    for (std::size_t square = 0; square < degree; square += kSquare, w += kTail * kLane, s += kTail * kLane) {
      alignas(64) u32 v[kSquare];
      transpose(x + square, v);
      for (std::size_t groups = kLane / 2, t = kLane; groups >= 1; groups /= 2, t *= 2) {
        for (std::size_t g = 0; g < groups; g++) {
          const std::size_t twiddle = (groups - 1 + g) * kLane;
          inverse_butterflies<false>(v + 2 * g * t, v + (2 * g + 1) * t, t, w + twiddle, s + twiddle, p);
        }
      }
      transpose(v, x + square);
    }
    for (std::size_t m = degree / kLane / 2, t = kLane; m >= 1; m /= 2, t *= 2) {
      for (std::size_t i = 0; i < m; i++) {
        inverse_butterflies<true>(x + 2 * i * t, x + (2 * i + 1) * t, t, roots + m + i, shoups + m + i, p);
      }
    }
    for (std::size_t j = 0; j < degree; j++) x[j] = less(times_lazy(x[j], roots[0], shoups[0], p), p);
  }
}

void multiply(const u32* x, const u32* y, std::size_t n, std::size_t degree, u32 p, u32* scratch, u32* out) {
  // y may be a secret: not `shoup_of`, whose division takes a time that depends on the dividend on many processors.
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

// --- residues -----------------------------------------------------------------------------------------------------------

void add(const u32* x, const u32* y, std::size_t n, u32 p, u32* __restrict out) {
  for (std::size_t i = 0; i < n; i++) out[i] = less(x[i] + y[i], p);
}

void lift_small(const std::int8_t* values, std::size_t n, u32 p, u32* __restrict out) {
  for (std::size_t i = 0; i < n; i++) {
    const std::int32_t v = values[i];
    out[i] = static_cast<u32>(v) + (p & static_cast<u32>(v >> 31));
  }
}

void ternary(const u64* words, std::size_t n, std::int8_t* __restrict out) {
  constexpr u64 kLow = 0xffffffffu;
  for (std::size_t i = 0; i < n; i++) {
    u64 high = words[i] >> 32, low = words[i] & kLow;
    for (std::size_t trit = 0; trit < 4; trit++) {
      low *= 3;
      high = high * 3 + (low >> 32);
      out[4 * i + trit] = static_cast<std::int8_t>(static_cast<int>(high >> 32) - 1);
      high &= kLow;
      low &= kLow;
    }
  }
}

void binomial(const u64* words, std::size_t n, std::int8_t* __restrict out) {
  constexpr u64 kOnes = (1u << 21) - 1;
  for (std::size_t i = 0; i < n; i++) {
    out[i] = static_cast<std::int8_t>(std::popcount(words[i] & kOnes) - std::popcount((words[i] >> 21) & kOnes));
  }
}

// Returns how many were found, at most `count`; out has room for count + 1.
std::size_t uniform(const u32* words, std::size_t n, u32 p, std::size_t count, u32* out) {
  const u32 mask = static_cast<u32>((u64{1} << std::bit_width(p)) - 1);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n && found < count; i++) {
    const u32 v = words[i] & mask;
    out[found] = v;
    found += v < p;
  }
  return found;
}

void encode(const u64* x, const u64* dither, std::size_t n, int bits, u64 q_low, u32 inverse, u32 p, u32* __restrict out) {
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

void flood(const u64* words, std::size_t n, int bits, u32 p, u32* __restrict out) {
  const int width = bits + 1;
  const u64 low_mask = width >= 64 ? ~u64{0} : (u64{1} << width) - 1;
  const u64 high_mask = width <= 64 ? 0 : (u64{1} << (width - 64)) - 1;
  u64 power[5];  // 2^(32 i) mod p, then 2^bits mod p
  power[0] = 1;
  for (int i = 1; i < 4; i++) power[i] = (power[i - 1] << 32) % p;
  power[4] = 1;
  for (int i = 0; i < bits; i++) power[4] = power[4] * 2 % p;
  const double reciprocal = 1.0 / p;
  for (std::size_t i = 0; i < n; i++) {
    const u64 low = words[2 * i] & low_mask, high = words[2 * i + 1] & high_mask;
    // Four products below 2^32 * 2^27.
    const u64 total = (low & 0xffffffffu) + (low >> 32) * power[1] + (high & 0xffffffffu) * power[2] + (high >> 32) * power[3];
    out[i] = reduce_signed(static_cast<i64>(total) - static_cast<i64>(power[4]), p, reciprocal);
  }
}

void torus(const u32* x, std::size_t n, int count, const u32* primes, const u32* inverses, int bits, u64* __restrict out) {
  const u64 half = u64{1} << (63 - bits);
  const int shift = 64 - bits;
  for (std::size_t i = 0; i < n; i++) out[i] = half;
  for (int l = 0; l < count; l++) {
    const u32 p = primes[l], inverse = inverses[l], shoup = shoup_of(inverse, p);
    const double reciprocal = 1.0 / p;
    const u32* __restrict residues = x + l * n;
    for (std::size_t i = 0; i < n; i++) {
      u64 rest, unused;
      const u64 first = divide32(less(times_lazy(residues[i], inverse, shoup, p), p), p, reciprocal, rest);
      out[i] += (first << 32) | divide32(rest, p, reciprocal, unused);
    }
  }
  for (std::size_t i = 0; i < n; i++) out[i] >>= shift;
}

void rows(const u32* x, std::size_t n, std::size_t degree, i64 offset, i64 stride, std::size_t count, std::size_t length,
          double* __restrict out) {
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
        for (std::size_t j = 0; j < part; j++) row[done + j] = sign * static_cast<std::int32_t>(from[j]);
        done += part;
        index += static_cast<i64>(part);
      }
    }
  }
}

void reduce(const double* x, std::size_t n, u32 p, u32* __restrict out) {
  const double reciprocal = 1.0 / p;
  for (std::size_t i = 0; i < n; i++) out[i] = reduce_signed(static_cast<i64>(x[i]), p, reciprocal);
}

void lift_centred(const u64* x, std::size_t n, int bits, u32 p, u32* __restrict out) {
  const double reciprocal = 1.0 / p;
  const int shift = 64 - bits;
  for (std::size_t i = 0; i < n; i++) out[i] = reduce_signed(static_cast<i64>(x[i] << shift) >> shift, p, reciprocal);
}

u32 inverse_mod(u32 value, u32 p) {  // Fermat
  u64 result = 1, power = value % p;
  for (u32 e = p - 2; e; e >>= 1, power = power * power % p) {
    if (e & 1) result = result * power % p;
  }
  return static_cast<u32>(result);
}

void crt(const u32* x, std::size_t n, int count, const u32* primes, int bits, u64* __restrict out) {
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
    for (std::size_t k = 0; k < size; k++) o[k] = (o[k] - (radix & (u64{0} - (top[k] > half)))) & mask;
  }
}

constexpr RlweOps make_ops(const char* name) {
  return {name,   forward, inverse, multiply, add,    lift_small,   ternary, binomial, uniform,
          encode, flood,   torus,   rows,     reduce, lift_centred, crt};
}

}  // namespace
}  // namespace moiety
