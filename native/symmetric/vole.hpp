// SoftSpoken extension over F_16. reference/symmetric.py specifies it.
#pragma once

#if defined(MOIETY_LOOPS)
#include "symmetric/width.hpp"
#include "vector/aes.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

inline constexpr int kTrees = 32;
inline constexpr int kLeaves = 16;

// Shapes as in the specification, arguments checked. Outputs are written in whole vectors, and so
// past their end.
struct VoleKernels {
  void (*vole_receiver)(const u8* keys, u64 counter, int k, std::size_t nblocks, u8* u, u8* v,
                        u8* corrections);
  void (*vole_sender)(const u8* keys, const u8* delta, u64 counter, int k, std::size_t nblocks,
                      const u8* corrections, u8* w);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr int kStride = 2;  // vectors of one leaf in flight; four leaves at once
constexpr int kChunk = 16;  // blocks of 128 correlations whose planes stay in the first cache
constexpr int kStrideBytes = kStride * kVecBytes;
constexpr int kPlaneBytes = 16 * kChunk;
static_assert(kPlaneBytes % kStrideBytes == 0);

// Leaf streams of one tree at one place, summed: bit_sum[j] over the leaves with bit j, all over
// all leaves.
MOIETY_INLINE void tree_sums(const Schedule* leaves, u64 counter, Reg (&bit_sum)[4][kStride],
                             Reg (&all)[kStride]) {
  Reg block[kStride];
  MOIETY_UNROLL
  for (int s = 0; s < kStride; s++) block[s] = counters(counter + s * kB);
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

// log2(N) rounds of perfect shuffles: rows of 16 bytes become columns (N = 16), or pairs of columns
// (N = 8).
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
    for (int r = 0; r < 8; r++)
      rows[r] = V::load(planes + (8 * g + (V::kReversed ? 7 - r : r)) * kPlaneBytes);
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

// Schedules of all leaves' keys.
struct LeafKeys {
  Schedule keys[kTrees * kLeaves];

  explicit LeafKeys(const u8* from) {
    for (int i = 0; i < kTrees * kLeaves; i++) expand_key(from + 16 * i, keys[i]);
  }
};

struct Vole {
  const Schedule* leaves;
  u64 counter;
  int k;
  std::size_t nblocks;
  u8* rows;                            // v or w
  u8* u = nullptr;                     // receiver
  u8* corrections_out = nullptr;       // receiver
  const u8* corrections_in = nullptr;  // sender
  const u64 (*delta)[4] = nullptr;     // sender: masks of the bits of every nibble
};

// Plane b of tree i, at blocks [t, t + kStride*kB) of the call of which `valid` bytes exist. A call
// of its own: inlined where it is called, four times, it outgrows the instruction cache.
template <int b, bool Sender>
MOIETY_NOINLINE void tree_plane(const Vole& job, int i, std::size_t t, std::size_t valid,
                                u8* planes, u8* first) {
  Reg sums[4][kStride], all[kStride];
  tree_sums(job.leaves + kLeaves * i, job.counter + b * job.nblocks + t, sums, all);
  const std::size_t plane = i == 0 ? 0 : static_cast<std::size_t>((i - 1) * job.k + b);
  const std::size_t offset = (plane * job.nblocks + t) * 16;
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
        for (int j = 0; j < 4; j++) {
          sums[j][s] = V::bxor(sums[j][s], V::band(correction, V::set64(job.delta[i][j])));
        }
      }
    }
  } else if (i == 0) {
    MOIETY_UNROLL
    for (int s = 0; s < kStride; s++) V::store(first + b * kPlaneBytes + s * kVecBytes, all[s]);
  } else {
    u8* to = valid < kStrideBytes ? edge : job.corrections_out + offset;
    MOIETY_UNROLL
    for (int s = 0; s < kStride; s++) {
      const Reg first_sum = V::load(first + b * kPlaneBytes + s * kVecBytes);
      V::store(to + s * kVecBytes, V::bxor(all[s], first_sum));
    }
    if (valid < kStrideBytes) std::memcpy(job.corrections_out + offset, edge, valid);
  }
  add_weighted<b>(planes, sums);
}

template <bool Sender>
void vole(const Vole& job) {
  alignas(64) u8 planes[4 * kTrees * kPlaneBytes];
  alignas(64) u8 first[4 * kPlaneBytes];
  for (std::size_t start = 0; start < job.nblocks; start += kChunk) {
    const std::size_t bytes = 16 * least(kChunk, job.nblocks - start);
    for (int i = 0; i < kTrees; i++) {
      for (std::size_t at = 0; at < bytes; at += kStrideBytes) {
        const std::size_t t = start + at / 16, valid = least(kStrideBytes, bytes - at);
        u8* to = planes + 4 * i * kPlaneBytes + at;
        tree_plane<0, Sender>(job, i, t, valid, to, first + at);
        if (job.k > 1) tree_plane<1, Sender>(job, i, t, valid, to, first + at);
        if (job.k > 2) tree_plane<2, Sender>(job, i, t, valid, to, first + at);
        if (job.k > 3) tree_plane<3, Sender>(job, i, t, valid, to, first + at);
      }
    }
    for (std::size_t at = 0; at < bytes; at += kVecBytes) {
      transpose_planes(planes + at, job.rows + (16 * start + at) * 128);
    }
    if constexpr (!Sender) {
      for (std::size_t at = 0; at < bytes; at += 16) {
        with_width(job.k,
                   [&]<int K>() { planes_to_bytes<K>(first + at, job.u + (16 * start + at) * 8); });
      }
    }
  }
}

void vole_receiver(const u8* keys, u64 counter, int k, std::size_t nblocks, u8* u, u8* v,
                   u8* corrections) {
  const LeafKeys leaves(keys);
  vole<false>({.leaves = leaves.keys,
               .counter = counter,
               .k = k,
               .nblocks = nblocks,
               .rows = v,
               .u = u,
               .corrections_out = corrections});
}

void vole_sender(const u8* keys, const u8* delta, u64 counter, int k, std::size_t nblocks,
                 const u8* corrections, u8* w) {
  const LeafKeys leaves(keys);
  u64 masks[kTrees][4];
  for (int i = 0; i < kTrees; i++) {
    for (int j = 0; j < 4; j++) {
      masks[i][j] = -static_cast<u64>(delta[i / 2] >> (4 * (i & 1) + j) & 1);
    }
  }
  vole<true>({.leaves = leaves.keys,
              .counter = counter,
              .k = k,
              .nblocks = nblocks,
              .rows = w,
              .corrections_in = corrections,
              .delta = masks});
}

constexpr VoleKernels kVole{.vole_receiver = vole_receiver, .vole_sender = vole_sender};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const VoleKernels& vole_kernels();  // of the instruction set in use

namespace {

// Rows come out of the transposition by up to four blocks of 128 correlations, and only the first
// need exist.
constexpr std::size_t kRowSlack = 3 * 128 * 16;

void check_vole(u64 counter, u64 k, u64 nblocks) {
  check_range("k", k, 1, 4);
  check_range("nblocks", nblocks, 0, u64{1} << 40);
  if (nblocks > 0) check_range("counter", counter, 0, 0 - k * nblocks);
}

nb::tuple vole_receiver(const Array& keys, u64 counter, u64 k, u64 nblocks) {
  const u8* leaves = checked<u8>("keys", keys, {kTrees, kLeaves, 16});
  check_vole(counter, k, nblocks);
  const VoleKernels& kernels = vole_kernels();
  const Output<u8> u({128 * nblocks}), v({128 * nblocks, 16}, kRowSlack),
      corrections({(kTrees - 1) * k * nblocks * 16});
  without_gil([&] {
    kernels.vole_receiver(leaves, counter, static_cast<int>(k), nblocks, u.data(), v.data(),
                          corrections.data());
  });
  return nb::make_tuple(u.array(), v.array(), corrections.array());
}

Out<u8> vole_sender(const Array& keys, const Array& delta, u64 counter, u64 k, u64 nblocks,
                    const Array& corrections) {
  const u8* leaves = checked<u8>("keys", keys, {kTrees, kLeaves, 16});
  const u8* d = checked<u8>("delta", delta, {16});
  check_vole(counter, k, nblocks);
  const u8* from = checked<u8>("corrections", corrections, {(kTrees - 1) * k * nblocks * 16});
  const VoleKernels& kernels = vole_kernels();
  const Output<u8> w({128 * nblocks, 16}, kRowSlack);
  without_gil([&] {
    kernels.vole_sender(leaves, d, counter, static_cast<int>(k), nblocks, from, w.data());
  });
  return w.array();
}

void bind_vole(nb::module_& m) {
  m.def("vole_receiver", &vole_receiver, "keys"_a, "counter"_a, "k"_a, "nblocks"_a);
  m.def("vole_sender", &vole_sender, "keys"_a, "delta"_a, "counter"_a, "k"_a, "nblocks"_a,
        "corrections"_a);
}

}  // namespace
#endif

}  // namespace moiety
