// Generators: the AES keystream and the doubling generator of punctured trees.
// reference/symmetric.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#include "vector/aes.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// Shapes as in the specification, arguments checked. Outputs are written in whole vectors, and so
// past their end: see kSlack in arguments.hpp.
struct PrgKernels {
  void (*aes_ctr)(const u8* key, u64 counter, u64 upper, std::size_t nbytes, u8* out);
  void (*ggm_expand)(const u8* seeds, const u8* keys, std::size_t m, u8* out);
};

#if defined(MOIETY_LOOPS)
namespace {

void aes_ctr(const u8* key, u64 counter, u64 upper, std::size_t nbytes, u8* out) {
  constexpr int N = 8;
  Schedule schedule;
  expand_key(key, schedule);
  const u64 halves[2] = {0, upper};
  const Reg high = V::bcast(reinterpret_cast<const u8*>(halves));
  for (std::size_t at = 0; at < nbytes; at += N * kVecBytes) {
    Reg state[N];
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) state[i] = V::bxor(counters(counter + at / 16 + i * kB), high);
    encrypt(schedule, state);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) V::store(out + at + i * kVecBytes, state[i]);
  }
}

void ggm_expand(const u8* seeds, const u8* keys, std::size_t m, u8* out) {
  constexpr int N = 4;
  constexpr std::size_t kStep = N * kB;
  Schedule left, right;
  expand_key(keys, left);
  expand_key(keys + 16, right);
  alignas(64) u8 tail[N * kVecBytes] = {};
  for (std::size_t at = 0; at < m; at += kStep) {
    const u8* from = seeds + 16 * at;
    if (m - at < kStep) {
      std::memcpy(tail, from, 16 * (m - at));
      from = tail;
    }
    Reg seed[N], a[N], b[N];
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) a[i] = b[i] = seed[i] = V::load(from + i * kVecBytes);
    encrypt(left, a);
    encrypt(right, b);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) {
      Reg x = V::bxor(a[i], seed[i]), y = V::bxor(b[i], seed[i]);
      V::interleave(x, y);
      V::store(out + 32 * at + 2 * i * kVecBytes, x);
      V::store(out + 32 * at + (2 * i + 1) * kVecBytes, y);
    }
  }
}

constexpr PrgKernels kPrg{.aes_ctr = aes_ctr, .ggm_expand = ggm_expand};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const PrgKernels& prg_kernels();  // of the instruction set in use

namespace {

Out<u8> aes_ctr(const Array& key, u64 counter, u64 nbytes, u64 upper) {
  const u8* k = checked<u8>("key", key, {16});
  check_range("nbytes", nbytes, 0, u64{1} << 62);
  const PrgKernels& kernels = prg_kernels();
  const Output<u8> out({nbytes});
  without_gil([&] { kernels.aes_ctr(k, counter, upper, nbytes, out.data()); });
  return out.array();
}

Out<u8> ggm_expand(const Array& seeds, const Array& keys) {
  const u8* from = checked<u8>("seeds", seeds, {kAny, 16});
  const std::size_t m = seeds.shape(0);
  const u8* two = checked<u8>("keys", keys, {2, 16});
  const PrgKernels& kernels = prg_kernels();
  const Output<u8> out({m, 2, 16});
  without_gil([&] { kernels.ggm_expand(from, two, m, out.data()); });
  return out.array();
}

void bind_prg(nb::module_& m) {
  m.def("aes_ctr", &aes_ctr, "key"_a, "counter"_a, "nbytes"_a, "upper"_a = 0);
  m.def("ggm_expand", &ggm_expand, "seeds"_a, "keys"_a);
}

}  // namespace
#endif

}  // namespace moiety
