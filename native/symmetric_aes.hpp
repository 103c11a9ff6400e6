// AES-128 over V, its keystream, and the doubling generator of the punctured trees. Part of symmetric_kernels.hpp.
#pragma once

namespace moiety {
namespace {

using u8 = std::uint8_t;
using u64 = std::uint64_t;
using Reg = V::Reg;
constexpr int kB = V::kBlocks;
constexpr int kVecBytes = 16 * kB;

#define MOIETY_UNROLL _Pragma("GCC unroll 16")
#define MOIETY_INLINE inline __attribute__((always_inline))

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

void expand_key(const void* key, Schedule& out) {
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

void ctr(const u8* key, u64 counter, std::size_t nbytes, u8* out) {
  constexpr int N = 8;
  Schedule schedule;
  expand_key(key, schedule);
  for (std::size_t at = 0; at < nbytes; at += N * kVecBytes) {
    Reg state[N];
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) state[i] = V::add64(V::lo64(counter + at / 16 + i * kB), V::count());
    encrypt(schedule, state);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) V::store(out + at + i * kVecBytes, state[i]);
  }
}

void ggm(const u8* seeds, std::size_t m, u8* out) {
  constexpr int N = 4;
  constexpr std::size_t kStep = N * kB;
  Schedule left, right;
  expand_key(kTreeKeys[0], left);
  expand_key(kTreeKeys[1], right);
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

}  // namespace
}  // namespace moiety
