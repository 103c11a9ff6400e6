// SoftSpoken extension over F_16. Part of symmetric_kernels.hpp.
#pragma once

namespace moiety {
namespace {

constexpr int kStride = 2;  // vectors of one leaf in flight; four leaves at once
constexpr int kChunk = 16;  // blocks (of 128 correlations) whose planes stay in the first-level cache
constexpr int kStrideBytes = kStride * kVecBytes;
constexpr int kPlaneBytes = 16 * kChunk;
static_assert(kPlaneBytes % kStrideBytes == 0);

// Leaf streams of one tree at one place, summed: bit_sum[j] over the leaves with bit j, all over all leaves.
MOIETY_INLINE void tree_sums(const Schedule* leaves, u64 counter, Reg (&bit_sum)[4][kStride], Reg (&all)[kStride]) {
  Reg block[kStride];
  MOIETY_UNROLL
  for (int s = 0; s < kStride; s++) block[s] = V::add64(V::lo64(counter + s * kB), V::count());
  MOIETY_UNROLL
  for (int g = 0; g < 4; g++) {
    const Schedule* keys = leaves + 4 * g;
    Reg r[4][kStride];
    MOIETY_UNROLL
    for (int x = 0; x < 4; x++) {
      const Reg rk = V::bcast(keys[x].round[0]);
      MOIETY_UNROLL
      for (int s = 0; s < kStride; s++) r[x][s] = V::bxor(block[s], rk);
    }
    for (int round = 1; round < 10; round++) {
      MOIETY_UNROLL
      for (int x = 0; x < 4; x++) {
        const Reg rk = V::bcast(keys[x].round[round]);
        MOIETY_UNROLL
        for (int s = 0; s < kStride; s++) r[x][s] = V::aesenc(r[x][s], rk);
      }
    }
    MOIETY_UNROLL
    for (int x = 0; x < 4; x++) {
      const Reg rk = V::bcast(keys[x].round[10]);
      MOIETY_UNROLL
      for (int s = 0; s < kStride; s++) r[x][s] = V::aesenclast(r[x][s], rk);
    }
    MOIETY_UNROLL
    for (int s = 0; s < kStride; s++) {
      const Reg odd = V::bxor(r[1][s], r[3][s]);
      const Reg high = V::bxor(r[2][s], r[3][s]);
      const Reg sum = V::xor3(r[0][s], r[1][s], high);
      bit_sum[0][s] = g == 0 ? odd : V::bxor(bit_sum[0][s], odd);
      bit_sum[1][s] = g == 0 ? high : V::bxor(bit_sum[1][s], high);
      if (g & 1) bit_sum[2][s] = g == 1 ? sum : V::bxor(bit_sum[2][s], sum);
      if (g & 2) bit_sum[3][s] = g == 2 ? sum : V::bxor(bit_sum[3][s], sum);
      all[s] = g == 0 ? sum : V::bxor(all[s], sum);
    }
  }
}

// planes += alpha^b * sum_j alpha^j T_j, with alpha^4 = alpha + 1.
template <int b>
MOIETY_INLINE void add_weighted(u8* planes, const Reg (&t)[4][kStride]) {
  MOIETY_UNROLL
  for (int s = 0; s < kStride; s++) {
    u8* at = planes + s * kVecBytes;
    const auto add = [at](int plane, Reg value) __attribute__((always_inline)) {
      u8* to = at + plane * kPlaneBytes;
      V::store(to, b == 0 ? value : V::bxor(value, V::load(to)));
    };
    const Reg t0 = t[0][s], t1 = t[1][s], t2 = t[2][s], t3 = t[3][s];
    if constexpr (b == 0) {
      add(0, t0), add(1, t1), add(2, t2), add(3, t3);
    } else if constexpr (b == 1) {
      add(0, t3), add(1, V::bxor(t0, t3)), add(2, t1), add(3, t2);
    } else if constexpr (b == 2) {
      add(0, t2), add(1, V::bxor(t2, t3)), add(2, V::bxor(t0, t3)), add(3, t1);
    } else {
      add(0, t1), add(1, V::bxor(t1, t2)), add(2, V::bxor(t2, t3)), add(3, V::bxor(t0, t3));
    }
  }
}

// log2(N) rounds of perfect shuffles: rows of 16 bytes become columns (N = 16), or pairs of columns (N = 8).
template <int N>
MOIETY_INLINE void interleave_bytes(Reg (&rows)[N]) {
  MOIETY_UNROLL
  for (int round = 1; round < N; round *= 2) {
    Reg next[N];
    MOIETY_UNROLL
    for (int q = 0; q < N / 2; q++) {
      next[2 * q] = V::unpack_lo8(rows[q], rows[q + N / 2]);
      next[2 * q + 1] = V::unpack_hi8(rows[q], rows[q + N / 2]);
    }
    MOIETY_UNROLL
    for (int q = 0; q < N; q++) rows[q] = next[q];
  }
}

// kB blocks of 128 bit planes to 128*kB rows of 16 bytes.
void transpose_planes(const u8* planes, u8* out) {
  alignas(64) u8 octets[8][16][kVecBytes];  // [correlation / 16][plane / 8]
  for (int g = 0; g < 16; g++) {
    Reg rows[8];
    MOIETY_UNROLL
    for (int r = 0; r < 8; r++) rows[r] = V::load(planes + (8 * g + (V::kReversed ? 7 - r : r)) * kPlaneBytes);
    interleave_bytes(rows);
    MOIETY_UNROLL
    for (int q = 0; q < 8; q++) V::store(octets[q][g], V::transpose8x8(rows[q]));
  }
  for (int q = 0; q < 8; q++) {
    Reg rows[16];
    MOIETY_UNROLL
    for (int g = 0; g < 16; g++) rows[g] = V::load(octets[q][g]);
    interleave_bytes(rows);
    MOIETY_UNROLL
    for (int s = 0; s < 16; s++) V::template store_lanes<2048>(out + 16 * (16 * q + s), rows[s]);
  }
}

// One block of K bit planes to 128 bytes.
template <int K>
void planes_to_bytes(const u8* planes, u8* out) {
  const __m128i bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m128i spread = _mm_set_epi64x(0x0101010101010101ll, 0);
  for (int c = 0; c < 8; c++) {
    __m128i value = _mm_setzero_si128();
    for (int b = 0; b < K; b++) {
      u8 pair[2];
      std::memcpy(pair, planes + b * kPlaneBytes + 2 * c, 2);
      const __m128i bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128(pair[0] | pair[1] << 8), spread);
      const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit);
      value = _mm_or_si128(value, _mm_and_si128(set, _mm_set1_epi8(static_cast<char>(1 << b))));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * c), value);
  }
}

struct Vole {
  const Schedule* leaves;
  u64 counter;
  std::size_t nblocks;
  u8* rows;                  // v or w
  u8* u;                     // receiver
  u8* corrections_out;       // receiver
  const u8* corrections_in;  // sender
  u64 (*delta)[4];           // sender: masks of the bits of every nibble
};

// Plane b of tree i, at blocks [t, t + kStride*kB) of the call of which `valid` bytes exist.
template <int b, int K, bool Sender>
MOIETY_INLINE void tree_plane(const Vole& job, int i, std::size_t t, std::size_t valid, u8* planes, u8* first) {
  Reg sums[4][kStride], all[kStride];
  tree_sums(job.leaves + kLeaves * i, job.counter + b * job.nblocks + t, sums, all);
  const std::size_t offset = i == 0 ? 0 : ((static_cast<std::size_t>(i - 1) * K + b) * job.nblocks + t) * 16;
  alignas(64) u8 edge[kStrideBytes];
  if constexpr (Sender) {
    if (i > 0) {
      const u8* from = job.corrections_in + offset;
      if (valid < kStrideBytes) {
        std::memset(edge, 0, kStrideBytes);
        std::memcpy(edge, from, valid);
        from = edge;
      }
      MOIETY_UNROLL
      for (int s = 0; s < kStride; s++) {
        const Reg correction = V::load(from + s * kVecBytes);
        MOIETY_UNROLL
        for (int j = 0; j < 4; j++) sums[j][s] = V::bxor(sums[j][s], V::band(correction, V::set64(job.delta[i][j])));
      }
    }
  } else if (i == 0) {
    MOIETY_UNROLL
    for (int s = 0; s < kStride; s++) V::store(first + b * kPlaneBytes + s * kVecBytes, all[s]);
  } else {
    u8* to = valid < kStrideBytes ? edge : job.corrections_out + offset;
    MOIETY_UNROLL
    for (int s = 0; s < kStride; s++)
      V::store(to + s * kVecBytes, V::bxor(all[s], V::load(first + b * kPlaneBytes + s * kVecBytes)));
    if (valid < kStrideBytes) std::memcpy(job.corrections_out + offset, edge, valid);
  }
  add_weighted<b>(planes, sums);
}

template <int K, bool Sender>
void vole(const Vole& job) {
  alignas(64) u8 planes[4 * kTrees * kPlaneBytes];
  alignas(64) u8 first[K * kPlaneBytes];
  for (std::size_t start = 0; start < job.nblocks; start += kChunk) {
    const std::size_t bytes = 16 * (job.nblocks - start < kChunk ? job.nblocks - start : kChunk);
    for (int i = 0; i < kTrees; i++) {
      for (std::size_t at = 0; at < bytes; at += kStrideBytes) {
        const std::size_t t = start + at / 16, valid = bytes - at < kStrideBytes ? bytes - at : kStrideBytes;
        u8* to = planes + 4 * i * kPlaneBytes + at;
        tree_plane<0, K, Sender>(job, i, t, valid, to, first + at);
        if constexpr (K > 1) tree_plane<1, K, Sender>(job, i, t, valid, to, first + at);
        if constexpr (K > 2) tree_plane<2, K, Sender>(job, i, t, valid, to, first + at);
        if constexpr (K > 3) tree_plane<3, K, Sender>(job, i, t, valid, to, first + at);
      }
    }
    for (std::size_t at = 0; at < bytes; at += kVecBytes) {
      transpose_planes(planes + at, job.rows + (16 * start + at) * 128);
    }
    if constexpr (!Sender) {
      for (std::size_t at = 0; at < bytes; at += 16) planes_to_bytes<K>(first + at, job.u + (16 * start + at) * 8);
    }
  }
}

template <bool Sender>
void vole_dispatch(const u8* keys, int k, Vole& job) {
  Schedule leaves[kTrees * kLeaves];
  for (int i = 0; i < kTrees * kLeaves; i++) expand_key(keys + 16 * i, leaves[i]);
  job.leaves = leaves;
  switch (k) {
    case 1:
      return vole<1, Sender>(job);
    case 2:
      return vole<2, Sender>(job);
    case 3:
      return vole<3, Sender>(job);
    default:
      return vole<4, Sender>(job);
  }
}

void vole_receiver(const u8* keys, u64 counter, int k, std::size_t nblocks, u8* u, u8* v, u8* corrections) {
  Vole job{nullptr, counter, nblocks, v, u, corrections, nullptr, nullptr};
  vole_dispatch<false>(keys, k, job);
}

void vole_sender(const u8* keys, const u8* delta, u64 counter, int k, std::size_t nblocks, const u8* corrections,
                 u8* w) {
  u64 masks[kTrees][4];
  for (int i = 0; i < kTrees; i++) {
    for (int j = 0; j < 4; j++) masks[i][j] = -static_cast<u64>(delta[i / 2] >> (4 * (i & 1) + j) & 1);
  }
  Vole job{nullptr, counter, nblocks, w, nullptr, nullptr, corrections, masks};
  vole_dispatch<true>(keys, k, job);
}

}  // namespace
}  // namespace moiety
