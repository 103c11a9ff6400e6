// Arguments of the RLWE kernels: residues have the prime index first, (L, ..). Primes and degrees
// are checked as reference/rlwe.py states them.
#pragma once

#include <vector>

#include "arguments.hpp"
#include "rlwe/modular.hpp"

namespace moiety {
namespace {

void check_prime(u64 prime) { check_range("a prime", prime, 3, kPrimeLimit - 1); }

struct Primes {
  const u32* data;
  std::size_t count;

  u32 operator[](std::size_t i) const { return data[i]; }
};

Primes checked_primes(const Array& primes) {
  const Primes p{checked<u32>("primes", primes, {kAny}), primes.shape(0)};
  check_range("the number of primes", u64{p.count}, 1, kMaxPrimes);
  for (std::size_t i = 0; i < p.count; i++) check_prime(p[i]);
  return p;
}

// One public residue of each prime.
const u32* checked_residues(const char* name, const Array& array, const Primes& primes) {
  const u32* residues = checked<u32>(name, array, {primes.count});
  for (std::size_t i = 0; i < primes.count; i++)
    check_range(name, u64{residues[i]}, 0, primes[i] - 1);
  return residues;
}

void check_degree(std::size_t degree) {
  if (degree < 256 || (degree & (degree - 1))) {
    refuse("the degree must be a power of two, at least 256, got " + std::to_string(degree));
  }
}

// Residues of the given shape, (L, ..): `run(i, row)` for the row of every prime.
template <class Run>
Out<u32> per_prime(const std::vector<std::size_t>& shape, Run run) {
  const Output<u32> out(shape);
  const std::size_t row = out.size() / shape[0];
  without_gil([&] {
    for (std::size_t i = 0; i < shape[0]; i++) run(i, out.data() + i * row);
  });
  return out.array();
}

}  // namespace
}  // namespace moiety
