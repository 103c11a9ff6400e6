// Blocks of 128 bits: the hash, products of public elements with a secret block.
// reference/silent.py specifies them.
#pragma once

#if defined(MOIETY_LOOPS)
#include "field.hpp"
#include "vector/aes.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

// n blocks each, arguments checked.
struct BlockKernels {
  void (*hash_blocks)(const u8* blocks, std::size_t n, const u8* key, u8* out);
  void (*add_multiples)(u8* target, const u8* delta, const u8* elements, std::size_t n);
};

#if defined(MOIETY_LOOPS)
namespace {

using Block = __m128i;

MOIETY_INLINE Block load_block(const u8* p) {
  return _mm_loadu_si128(reinterpret_cast<const Block*>(p));
}
MOIETY_INLINE void store_block(u8* p, Block x) { _mm_storeu_si128(reinterpret_cast<Block*>(p), x); }
MOIETY_INLINE Block mix(Block a, Block b) { return _mm_xor_si128(a, b); }

// See `sigma` of reference/blocks.py.
MOIETY_INLINE Reg sigma(Reg x) { return V::bxor(V::swap64(x), V::high(V::times_x(x))); }

void hash_blocks(const u8* blocks, std::size_t n, const u8* key, u8* out) {
  constexpr int N = 4;
  constexpr std::size_t kStep = N * kB;
  static_assert(per_key(1) % kStep == 0);
  alignas(64) u8 buffer[N * kVecBytes] = {};
  for (std::size_t first = 0; first < n; first += per_key(1)) {
    Schedule schedule;
    expand_key(key, first / per_key(1), schedule);
    const std::size_t end = least(n, first + per_key(1));
    for (std::size_t at = first; at < end; at += kStep) {
      const std::size_t bytes = 16 * least(kStep, end - at);
      std::memcpy(buffer, blocks + 16 * at, bytes);
      Reg state[N];
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) state[i] = sigma(V::load(buffer + i * kVecBytes));
      mmo(schedule, state);
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) V::store(buffer + i * kVecBytes, state[i]);
      std::memcpy(out + 16 * at, buffer, bytes);
    }
  }
}

void add_multiples(u8* target, const u8* delta, const u8* elements, std::size_t n) {
  const Multiples multiples(delta, 4);
  for (std::size_t i = 0; i < n; i++) {
    const Block product = load_block(multiples.block[elements[i]]);
    store_block(target + 16 * i, mix(load_block(target + 16 * i), product));
  }
}

constexpr BlockKernels kBlockKernels{.hash_blocks = hash_blocks, .add_multiples = add_multiples};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const BlockKernels& block_kernels();  // of the instruction set in use

namespace {

Out<u8> hash_blocks(const Array& blocks, const Array& key) {
  const u8* from = checked<u8>("blocks", blocks, {kAny, 16});
  const std::size_t n = blocks.shape(0);
  const u8* first = checked<u8>("key", key, {16});
  const BlockKernels& kernels = block_kernels();
  const Output<u8> out({n, 16});
  without_gil([&] { kernels.hash_blocks(from, n, first, out.data()); });
  return out.array();
}

void add_multiples(const Target& target, const Array& delta, const Array& elements, Pool* pool) {
  u8* to = checked<u8>("target", target, {kAny, 16});
  const std::size_t n = target.shape(0);
  const u8* d = checked<u8>("delta", delta, {16});
  const u8* e = checked<u8>("elements", elements, {n});
  if (exceeds(e, n, 4)) refuse("elements must be below 16");
  check_apart("target", target, {&delta, &elements});
  const BlockKernels& kernels = block_kernels();
  without_gil(pool, {n, 1}, [&](Range at) noexcept {
    kernels.add_multiples(to + 16 * at.start, d, e + at.start, at.size());
  });
}

void bind_blocks(nb::module_& m) {
  m.def("hash_blocks", &hash_blocks, "blocks"_a, "key"_a);
  m.def("add_multiples", &add_multiples, "target"_a.noconvert(), "delta"_a, "elements"_a,
        pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
