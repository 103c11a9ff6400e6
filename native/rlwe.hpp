// RLWE kernels: the table of functions that every instruction set implements. moiety/protocols/kernels/reference/rlwe.py specifies them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moiety {

inline constexpr int kMaxPrimes = 8;
inline constexpr std::uint32_t kPrimeLimit = 1u << 30;  // lazy butterflies hold values below 4p

// Arguments are raw, checked by the caller. Residues are (L, n, N) or (L, n), the prime index first.
struct RlweOps {
  const char* name;
  // One prime: n polynomials of degree N, in place; tables (4, N).
  void (*forward)(std::uint32_t* x, std::size_t n, std::size_t degree, std::uint32_t p, const std::uint32_t* tables);
  void (*inverse)(std::uint32_t* x, std::size_t n, std::size_t degree, std::uint32_t p, const std::uint32_t* tables);
  void (*multiply)(const std::uint32_t* x, const std::uint32_t* y, std::size_t n, std::size_t degree, std::uint32_t p,
                   std::uint32_t* scratch, std::uint32_t* out);
  void (*add)(const std::uint32_t* x, const std::uint32_t* y, std::size_t n, std::uint32_t p, std::uint32_t* out);
  void (*lift_small)(const std::int8_t* values, std::size_t n, std::uint32_t p, std::uint32_t* out);
  void (*ternary)(const std::uint64_t* words, std::size_t n, std::int8_t* out);
  void (*binomial)(const std::uint64_t* words, std::size_t n, std::int8_t* out);
  std::size_t (*uniform)(const std::uint32_t* words, std::size_t n, std::uint32_t p, std::size_t count, std::uint32_t* out);
  void (*encode)(const std::uint64_t* x, const std::uint64_t* dither, std::size_t n, int bits, std::uint64_t q_low,
                 std::uint32_t inverse, std::uint32_t p, std::uint32_t* out);
  void (*flood)(const std::uint64_t* words, std::size_t n, int bits, std::uint32_t p, std::uint32_t* out);
  void (*torus)(const std::uint32_t* x, std::size_t n, int count, const std::uint32_t* primes, const std::uint32_t* inverses,
                int bits, std::uint64_t* out);
  void (*rows)(const std::uint32_t* x, std::size_t n, std::size_t degree, std::int64_t offset, std::int64_t stride,
               std::size_t count, std::size_t length, double* out);
  void (*reduce)(const double* x, std::size_t n, std::uint32_t p, std::uint32_t* out);
  void (*lift_centred)(const std::uint64_t* x, std::size_t n, int bits, std::uint32_t p, std::uint32_t* out);
  void (*crt)(const std::uint32_t* x, std::size_t n, int count, const std::uint32_t* primes, int bits, std::uint64_t* out);
};

const RlweOps& rlwe_portable();
#if defined(__x86_64__)
const RlweOps& rlwe_avx2();
const RlweOps& rlwe_avx512();
#endif

}  // namespace moiety
