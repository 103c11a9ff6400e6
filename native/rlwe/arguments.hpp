// Arguments of the RLWE kernels: residues have the prime index first, (L, ..). Primes and shapes
// are checked as reference/rlwe.py states them.
#pragma once

#include <string>
#include <vector>

#include "arguments.hpp"
#include "rlwe/modular.hpp"

namespace moiety {
namespace {

template <class A>
void check_ndim(const char* name, const A& array, std::size_t ndim) {
  if (array.ndim() != ndim) {
    refuse(std::string(name) + " must have " + std::to_string(ndim) + " dimensions");
  }
}

void check_prime(u32 prime) {
  if (prime < 3 || prime >= kPrimeLimit) refuse("primes must be below 2^30");
}

std::size_t check_primes(const In<u32>& primes, std::size_t count) {
  check_ndim("primes", primes, 1);
  if (primes.shape(0) != count || count > kMaxPrimes) {
    refuse("there must be one prime per row of residues, at most 8");
  }
  for (std::size_t i = 0; i < count; i++) check_prime(primes.data()[i]);
  return count;
}

void check_size(const char* name, std::size_t got, std::size_t wanted) {
  if (got != wanted) {
    refuse(std::string(name) + " has " + std::to_string(got) + " elements, expected " +
           std::to_string(wanted));
  }
}

void check_bits(int bits, int most) {
  if (bits < 1 || bits > most) {
    refuse("bits must be in 1.." + std::to_string(most) + ", got " + std::to_string(bits));
  }
}

// Residues of the given shape, (L, ..): `run(i, row)` for the row of every prime.
template <class Run>
Out<u32> per_prime(const std::vector<std::size_t>& shape, Run run) {
  const Output<u32> out(shape);
  std::size_t row = 1;
  for (std::size_t axis = 1; axis < shape.size(); axis++) row *= shape[axis];
  without_gil([&] {
    for (std::size_t i = 0; i < shape[0]; i++) run(i, out.data() + i * row);
  });
  return out.array();
}

}  // namespace
}  // namespace moiety
