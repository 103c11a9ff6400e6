// AES-128 and the hash made from it, over the vector of blocks `V` that the including file names:
// `aes` and `mmo` of reference/blocks.py. Everything here has internal linkage, and nothing of
// the standard library but memcpy and memset is used: an inline function shared with other
// translation units could be merged into a copy that the processor cannot run.
//
// V is a vector/<instruction set>.hpp's `Vector`, which adds to `Lanes`:
//   kName               of the instruction set
//   bcast(p)            a block to all lanes
//   lo64(x)             x in the low halves of the lanes, zero above
//   count()             every lane's index in its low half
//   aesenc, aesenclast, unpack_lo8, unpack_hi8, unpack_lo64, unpack_hi64, clmul<H>
//                       the instructions of these names, lane by lane
//   swap64(x)           64-bit halves of every lane exchanged
//   shuffle8(x, at)     of every lane its bytes with these numbers, zero where bit 7 is set
//   load_lanes<S>       lane l from p + l*S
//   store_lanes<S>      lane l to p + l*S
//   interleave(x, y)    all lanes x0 y0 x1 y1 .. to (x, y)
//   even_odd(x, y)      from lanes (x, y) in order to the even ones in x, the odd ones in y
//   spread<K>(p)        lane l holds block (2*l) >> K
//   store_low64, store_low8 (p, x, y)   the low 64 or 8 bits of lanes x0 y0 x1 y1 ..
#pragma once

#include <immintrin.h>

#include "common.hpp"

namespace moiety {
namespace {

using Reg = V::Reg;
constexpr int kB = V::kBlocks;
constexpr int kVecBytes = V::kBytes;

struct alignas(16) Schedule {
  u8 round[11][16];
};

template <int Rcon>
MOIETY_INLINE __m128i next_round_key(__m128i key) {
  const __m128i word = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, Rcon), 0xff);
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
  return _mm_xor_si128(key, word);
}

MOIETY_INLINE void expand_key(const void* key, Schedule& out) {
  auto* to = reinterpret_cast<__m128i*>(out.round);
  __m128i k = _mm_loadu_si128(static_cast<const __m128i*>(key));
  to[0] = k;
  to[1] = k = next_round_key<0x01>(k);
  to[2] = k = next_round_key<0x02>(k);
  to[3] = k = next_round_key<0x04>(k);
  to[4] = k = next_round_key<0x08>(k);
  to[5] = k = next_round_key<0x10>(k);
  to[6] = k = next_round_key<0x20>(k);
  to[7] = k = next_round_key<0x40>(k);
  to[8] = k = next_round_key<0x80>(k);
  to[9] = k = next_round_key<0x1b>(k);
  to[10] = next_round_key<0x36>(k);
}

// Counter blocks first, first + 1, .. of the lanes.
MOIETY_INLINE Reg counters(u64 first) { return V::add64(V::lo64(first), V::count()); }

template <int N>
MOIETY_INLINE void encrypt(const Schedule& key, Reg (&state)[N]) {
  const Reg first = V::bcast(key.round[0]);
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) state[i] = V::bxor(state[i], first);
  MOIETY_UNROLL
  for (int r = 1; r < 10; r++) {
    const Reg rk = V::bcast(key.round[r]);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) state[i] = V::aesenc(state[i], rk);
  }
  const Reg last = V::bcast(key.round[10]);
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) state[i] = V::aesenclast(state[i], last);
}

// H(x) = AES(x) ^ x.
template <int N>
MOIETY_INLINE void mmo(const Schedule& key, Reg (&state)[N]) {
  Reg given[N];
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) given[i] = state[i];
  encrypt(key, state);
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) state[i] = V::bxor(state[i], given[i]);
}

// Elements with 2^k options each that are hashed under one key: `per_key` of reference/blocks.py.
MOIETY_INLINE constexpr std::size_t per_key(int k) { return std::size_t{1024} >> k; }

// Key number `index` counted from `first`: the low half counts.
MOIETY_INLINE void count_key(const u8* first, u64 index, u8* key) {
  const __m128i step = _mm_cvtsi64_si128(static_cast<long long>(index));
  const __m128i from = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(key), _mm_add_epi64(from, step));
}

// Its schedule.
MOIETY_INLINE void expand_key(const u8* first, u64 index, Schedule& out) {
  u8 key[16];
  count_key(first, index, key);
  expand_key(key, out);
}

}  // namespace
}  // namespace moiety
