// Samples from uniform words: ternary and binomial secrets, public uniform residues.
// reference/rlwe.py specifies them.
#pragma once

#include <bit>

#if defined(MOIETY_BINDINGS)
#include "rlwe/arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// n words each. `uniform_residues` returns how many it found, at most `count`; its `out` has room
// for count + 1.
struct SamplerKernels {
  void (*sample_ternary)(const u64* words, std::size_t n, i8* out);
  void (*sample_binomial)(const u64* words, std::size_t n, i8* out);
  std::size_t (*uniform_residues)(const u32* words, std::size_t n, u32 p, std::size_t count,
                                  u32* out);
};

#if defined(MOIETY_LOOPS)
namespace {

void sample_ternary(const u64* words, std::size_t n, i8* __restrict out) {
  constexpr u64 kLow = 0xffffffffu;
  for (std::size_t i = 0; i < n; i++) {
    u64 high = words[i] >> 32, low = words[i] & kLow;
    for (std::size_t trit = 0; trit < 4; trit++) {
      low *= 3;
      high = high * 3 + (low >> 32);
      out[4 * i + trit] = static_cast<i8>(static_cast<int>(high >> 32) - 1);
      high &= kLow;
      low &= kLow;
    }
  }
}

void sample_binomial(const u64* words, std::size_t n, i8* __restrict out) {
  constexpr u64 kOnes = (1u << 21) - 1;
  for (std::size_t i = 0; i < n; i++) {
    out[i] =
        static_cast<i8>(std::popcount(words[i] & kOnes) - std::popcount((words[i] >> 21) & kOnes));
  }
}

std::size_t uniform_residues(const u32* words, std::size_t n, u32 p, std::size_t count, u32* out) {
  const u32 mask = static_cast<u32>((u64{1} << std::bit_width(p)) - 1);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n && found < count; i++) {
    const u32 v = words[i] & mask;
    out[found] = v;
    found += v < p;
  }
  return found;
}

constexpr SamplerKernels kSamplers{.sample_ternary = sample_ternary,
                                   .sample_binomial = sample_binomial,
                                   .uniform_residues = uniform_residues};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const SamplerKernels& sampler_kernels();  // of the instruction set in use

namespace {

Out<i8> sample_ternary(const Array& words) {
  const u64* from = checked<u64>("words", words, {kAny});
  const std::size_t n = words.shape(0);
  const SamplerKernels& kernels = sampler_kernels();
  const Output<i8> out({4 * n});
  without_gil([&] { kernels.sample_ternary(from, n, out.data()); });
  return out.array();
}

Out<i8> sample_binomial(const Array& words) {
  const u64* from = checked<u64>("words", words, {kAny});
  const std::size_t n = words.shape(0);
  const SamplerKernels& kernels = sampler_kernels();
  const Output<i8> out({n});
  without_gil([&] { kernels.sample_binomial(from, n, out.data()); });
  return out.array();
}

Out<u32> uniform_residues(const Array& words, u64 prime, u64 count) {
  const u32* from = checked<u32>("words", words, {kAny});
  check_prime(prime);
  const std::size_t n = words.shape(0), room = least(count, n);
  const SamplerKernels& kernels = sampler_kernels();
  const Output<u32> out({room});
  std::size_t found;
  without_gil([&] {
    found = kernels.uniform_residues(from, n, static_cast<u32>(prime), room, out.data());
  });
  if (found < count) {
    refuse(std::to_string(count) + " residues asked for, " + std::to_string(found) + " found");
  }
  return out.array();
}

void bind_samplers(nb::module_& m) {
  m.def("sample_ternary", &sample_ternary, "words"_a);
  m.def("sample_binomial", &sample_binomial, "words"_a);
  m.def("uniform_residues", &uniform_residues, "words"_a, "prime"_a, "count"_a);
}

}  // namespace
#endif

}  // namespace moiety
