// Two blocks at a time: VAES with AVX2, for processors without AVX-512. See symmetric_kernels.hpp.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace moiety {
namespace {

struct Vector {
  static constexpr const char* kName = "vaes256";
  static constexpr int kBlocks = 2;
  static constexpr bool kReversed = false;
  using Reg = __m256i;

  static Reg load(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Reg*>(p)); }
  static void store(std::uint8_t* p, Reg x) { _mm256_storeu_si256(reinterpret_cast<Reg*>(p), x); }
  static Reg bcast(const std::uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Reg bxor(Reg a, Reg b) { return _mm256_xor_si256(a, b); }
  static Reg xor3(Reg a, Reg b, Reg c) { return bxor(a, bxor(b, c)); }
  static Reg band(Reg a, Reg b) { return _mm256_and_si256(a, b); }
  static Reg add64(Reg a, Reg b) { return _mm256_add_epi64(a, b); }
  static Reg set64(std::uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
  static Reg lo64(std::uint64_t x) { return _mm256_broadcastsi128_si256(_mm_cvtsi64_si128(static_cast<long long>(x))); }
  static Reg count() { return _mm256_set_epi64x(0, 1, 0, 0); }
  static Reg aesenc(Reg a, Reg k) { return _mm256_aesenc_epi128(a, k); }
  static Reg aesenclast(Reg a, Reg k) { return _mm256_aesenclast_epi128(a, k); }
  static Reg unpack_lo8(Reg a, Reg b) { return _mm256_unpacklo_epi8(a, b); }
  static Reg unpack_hi8(Reg a, Reg b) { return _mm256_unpackhi_epi8(a, b); }

  template <int Shift>
  static Reg swap_bits(Reg x, std::uint64_t mask) {
    const Reg t = band(bxor(x, _mm256_srli_epi64(x, Shift)), set64(mask));
    return xor3(x, t, _mm256_slli_epi64(t, Shift));
  }
  static Reg transpose8x8(Reg x) {
    x = swap_bits<7>(x, 0x00aa00aa00aa00aaull);
    x = swap_bits<14>(x, 0x0000cccc0000ccccull);
    return swap_bits<28>(x, 0x00000000f0f0f0f0ull);
  }

  template <int Stride>
  static void store_lanes(std::uint8_t* p, Reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + Stride), _mm256_extracti128_si256(x, 1));
  }
  static void interleave(Reg& x, Reg& y) {
    const Reg first = _mm256_permute2x128_si256(x, y, 0x20);
    y = _mm256_permute2x128_si256(x, y, 0x31);
    x = first;
  }
  static void even_odd(Reg& x, Reg& y) { interleave(x, y); }
  template <int K>
  static Reg spread(const std::uint8_t* p) {
    if constexpr (K == 1) return load(p);
    return bcast(p);
  }
  static void store_low64(std::uint8_t* p, Reg x, Reg y) { store(p, _mm256_unpacklo_epi64(x, y)); }
  static void store_low8(std::uint8_t* p, Reg x, Reg y) {
    const Reg pairs = _mm256_unpacklo_epi8(x, y);
    const __m128i four = _mm_unpacklo_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const int bytes = _mm_cvtsi128_si32(four);
    std::memcpy(p, &bytes, 4);
  }
};

}  // namespace
}  // namespace moiety
