// Included before everything where MemorySanitizer builds the loops. It follows shuffles of its own
// compiler, additions and the like byte by byte, but of these instructions it either reports every
// use of an undefined value, or takes bytes to stay where they were. Here their result is
// undefined, all of it, where any byte of an operand is.
#pragma once

#include <immintrin.h>
#include <sanitizer/msan_interface.h>

namespace {

template <class F, class... X>
inline auto watched(F f, X... x) {
  const bool undefined = ((__msan_test_shadow(&x, sizeof x) >= 0) || ...);
  (__msan_unpoison(&x, sizeof x), ...);
  auto result = f(x...);
  if (undefined) __msan_poison(&result, sizeof result);
  return result;
}

#define MOIETY_WATCHED_1(name, T, imm)          \
  template <int I>                              \
  inline auto watched##name(T x) {              \
    return watched([](T a) { return imm; }, x); \
  }
#define MOIETY_WATCHED_2(name, T, expression)                  \
  inline auto watched##name(T x, T y) {                        \
    return watched([](T a, T b) { return expression; }, x, y); \
  }
#define MOIETY_WATCHED_2I(name, T, expression)                 \
  template <int I>                                             \
  inline auto watched##name(T x, T y) {                        \
    return watched([](T a, T b) { return expression; }, x, y); \
  }

#if defined(__SSSE3__)
MOIETY_WATCHED_2(_shuffle8, __m128i, _mm_shuffle_epi8(a, b))
#define _mm_shuffle_epi8 watched_shuffle8
#endif

#if defined(__AES__)
MOIETY_WATCHED_2(_aesenc, __m128i, _mm_aesenc_si128(a, b))
MOIETY_WATCHED_2(_aesenclast, __m128i, _mm_aesenclast_si128(a, b))
MOIETY_WATCHED_1(_assist, __m128i, _mm_aeskeygenassist_si128(a, I))
#define _mm_aesenc_si128 watched_aesenc
#define _mm_aesenclast_si128 watched_aesenclast
#undef _mm_aeskeygenassist_si128
#define _mm_aeskeygenassist_si128(x, i) watched_assist<i>(x)
#endif

#if defined(__VAES__) && defined(__AVX2__)
MOIETY_WATCHED_2(_aesenc256, __m256i, _mm256_aesenc_epi128(a, b))
MOIETY_WATCHED_2(_aesenclast256, __m256i, _mm256_aesenclast_epi128(a, b))
#define _mm256_aesenc_epi128 watched_aesenc256
#define _mm256_aesenclast_epi128 watched_aesenclast256
#endif

#if defined(__AVX512VNNI__)
inline __m512i watched_pairs(__m512i sums, __m512i x, __m512i y) {
  return watched([](__m512i a, __m512i b, __m512i c) { return _mm512_dpwssd_epi32(a, b, c); }, sums,
                 x, y);
}
#define _mm512_dpwssd_epi32 watched_pairs
#endif

#if defined(__AVX512VBMI__)
MOIETY_WATCHED_2(_permute8, __m512i, _mm512_permutexvar_epi8(a, b))
#define _mm512_permutexvar_epi8 watched_permute8
#endif

#if defined(__VAES__) && defined(__AVX512F__)
MOIETY_WATCHED_2(_aesenc512, __m512i, _mm512_aesenc_epi128(a, b))
MOIETY_WATCHED_2(_aesenclast512, __m512i, _mm512_aesenclast_epi128(a, b))
#define _mm512_aesenc_epi128 watched_aesenc512
#define _mm512_aesenclast_epi128 watched_aesenclast512
#endif

#if defined(__GFNI__) && defined(__AVX512F__)
MOIETY_WATCHED_2I(_affine128, __m128i, _mm_gf2p8affine_epi64_epi8(a, b, I))
MOIETY_WATCHED_2I(_affine256, __m256i, _mm256_gf2p8affine_epi64_epi8(a, b, I))
MOIETY_WATCHED_2I(_affine512, __m512i, _mm512_gf2p8affine_epi64_epi8(a, b, I))
#undef _mm_gf2p8affine_epi64_epi8
#undef _mm256_gf2p8affine_epi64_epi8
#undef _mm512_gf2p8affine_epi64_epi8
#define _mm_gf2p8affine_epi64_epi8(x, a, i) watched_affine128<i>(x, a)
#define _mm256_gf2p8affine_epi64_epi8(x, a, i) watched_affine256<i>(x, a)
#define _mm512_gf2p8affine_epi64_epi8(x, a, i) watched_affine512<i>(x, a)
#endif

#if defined(__AVX512F__)
template <int I>
inline __m512i watched_ternary(__m512i x, __m512i y, __m512i z) {
  return watched(
      [](__m512i a, __m512i b, __m512i c) { return _mm512_ternarylogic_epi64(a, b, c, I); }, x, y,
      z);
}
inline __m512i watched_permute2(__m512i x, __m512i i, __m512i y) {
  return watched([](__m512i a, __m512i b, __m512i c) { return _mm512_permutex2var_epi64(a, b, c); },
                 x, i, y);
}
MOIETY_WATCHED_2(_permute, __m512i, _mm512_permutexvar_epi64(a, b))
inline __m128i watched_narrow(__m512i x) {
  return watched([](__m512i a) { return _mm512_cvtepi64_epi8(a); }, x);
}
inline __m256i watched_narrow_words(__m512i x) {
  return watched([](__m512i a) { return _mm512_cvtepi16_epi8(a); }, x);
}
inline __m128i watched_narrow_doubles(__m512i x) {
  return watched([](__m512i a) { return _mm512_cvtepi32_epi8(a); }, x);
}
#undef _mm512_ternarylogic_epi64
#define _mm512_ternarylogic_epi64(x, y, z, i) watched_ternary<i>(x, y, z)
#define _mm512_permutex2var_epi64 watched_permute2
#define _mm512_permutexvar_epi64 watched_permute
#define _mm512_cvtepi64_epi8 watched_narrow
#define _mm512_cvtepi16_epi8 watched_narrow_words
#define _mm512_cvtepi32_epi8 watched_narrow_doubles
#endif

}  // namespace
