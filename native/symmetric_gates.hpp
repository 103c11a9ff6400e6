// Lookups whose tables follow from a few secrets of the sender. Part of symmetric_kernels.hpp.
#pragma once

namespace moiety {
namespace {

constexpr std::size_t kTables = 512;  // elements whose tables are written out at once: they stay in the first cache

// Several digits against one choice: fields of `count` bits lt, then `count` bits eq.
template <int K>
void leaves_send_impl(const Lookup& job, int count, bool with_eq, const u8* w, const u8* delta, const u8* shifts,
                      const u8* digits, u8* messages, u8* share) {
  constexpr int kOptions = 1 << K;
  Schedule key;
  expand_key(kHashKey, key);
  const Multiples multiples(delta, K);
  const u64 mask = low_mask(job.bits);
  alignas(64) u64 pads[kGroup * kOptions], fields[kOptions][kGroup], mine[kGroup];
  alignas(64) u8 w_tail[16 * kGroup], row_tail[kGroup];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = min_size(kGroup, job.n - at);
    sender_pads<K>(key, whole(w + 16 * at, 16 * have, 16 * kGroup, w_tail), multiples, job.tweak + at, pads);
    std::memset(fields, 0, sizeof fields);
    for (int c = 0; c < count; c++) {
      const u8* row = whole(digits + c * job.n + at, have, kGroup, row_tail);
      for (int j = 0; j < kOptions; j++) {
        for (std::size_t i = 0; i < kGroup; i++) fields[j][i] |= static_cast<u64>(row[i] < j) << c;
        if (with_eq) {
          for (std::size_t i = 0; i < kGroup; i++) fields[j][i] |= static_cast<u64>(row[i] == j) << (count + c);
        }
      }
    }
    BitWriter to(messages + at / 8 * (kOptions - 1) * job.bits);
    for (std::size_t i = 0; i < have; i++) {
      const u64* pad = pads + i * kOptions;
      const unsigned shift = shifts[at + i] & (kOptions - 1);  // public
      mine[i] = (fields[0][i] ^ pad[shift]) & mask;
      MOIETY_UNROLL
      for (unsigned j = 1; j < kOptions; j++) to.put_wide((fields[j][i] ^ mine[i] ^ pad[j ^ shift]) & mask, job.bits);
    }
    for (int c = 0; c < count; c++) {
      for (std::size_t i = 0; i < have; i++) {
        const u64 eq = with_eq ? mine[i] >> (count + c) & 1 : 0;
        share[c * job.n + at + i] = static_cast<u8>((mine[i] >> c & 1) | eq << 1);
      }
    }
  }
  finish_stream(messages, job.n * (kOptions - 1) * job.bits);
}

void leaves_send(const Lookup& job, int count, bool with_eq, const u8* w, const u8* delta, const u8* shifts,
                 const u8* digits, u8* messages, u8* share) {
  // A single digit's answers fit the byte-wise lookup, which is several times faster.
  if (count == 1) {
    const Table kind = with_eq ? Table::kLessEqual : Table::kLess;
    return lookup_send(job, kind, w, delta, shifts, digits, messages, share);
  }
  switch (job.k) {
    case 1:
      return leaves_send_impl<1>(job, count, with_eq, w, delta, shifts, digits, messages, share);
    case 2:
      return leaves_send_impl<2>(job, count, with_eq, w, delta, shifts, digits, messages, share);
    case 3:
      return leaves_send_impl<3>(job, count, with_eq, w, delta, shifts, digits, messages, share);
    default:
      return leaves_send_impl<4>(job, count, with_eq, w, delta, shifts, digits, messages, share);
  }
}

template <int K>
void leaves_recv_impl(const Lookup& job, int count, bool with_eq, const u8* v, const u8* choices, const u8* messages,
                      u8* share) {
  constexpr int kFields = (1 << K) - 1;
  Schedule key;
  expand_key(kHashKey, key);
  const std::size_t group_bytes = kGroup / 8 * kFields * job.bits;
  alignas(64) u64 pads[kGroup], mine[kGroup];
  alignas(64) u8 v_tail[16 * kGroup], message_tail[kMessageTail];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = min_size(kGroup, job.n - at);
    receiver_pads(key, whole(v + 16 * at, 16 * have, 16 * kGroup, v_tail), job.tweak + at, pads);
    const bool last = job.n - at < 3 * kGroup;
    const u8* from =
        readable(messages + at / kGroup * group_bytes, (have * kFields * job.bits + 7) / 8, last, message_tail);
    std::size_t position = 0;
    for (std::size_t i = 0; i < have; i++) {
      const u64 choice = choices[at + i];
      u64 chosen = 0;
      MOIETY_UNROLL
      for (u64 j = 1; j <= kFields; j++) {
        const u64 equal = -(((choice ^ j) - 1) >> 63);  // all ones where choice == j
        chosen |= read_bits(from, position, job.bits) & equal;
        position += job.bits;
      }
      mine[i] = chosen ^ pads[i];
    }
    for (int c = 0; c < count; c++) {
      for (std::size_t i = 0; i < have; i++) {
        const u64 eq = with_eq ? mine[i] >> (count + c) & 1 : 0;
        share[c * job.n + at + i] = static_cast<u8>((mine[i] >> c & 1) | eq << 1);
      }
    }
  }
}

void leaves_recv(const Lookup& job, int count, bool with_eq, const u8* v, const u8* choices, const u8* messages,
                 u8* share) {
  if (count == 1) return lookup_recv(job, v, choices, messages, share);
  switch (job.k) {
    case 1:
      return leaves_recv_impl<1>(job, count, with_eq, v, choices, messages, share);
    case 2:
      return leaves_recv_impl<2>(job, count, with_eq, v, choices, messages, share);
    case 3:
      return leaves_recv_impl<3>(job, count, with_eq, v, choices, messages, share);
    default:
      return leaves_recv_impl<4>(job, count, with_eq, v, choices, messages, share);
  }
}

// The part of `job` that starts at element `at`; its messages start on a byte, as kTables is a multiple of 8.
MOIETY_INLINE Lookup chunk_of(const Lookup& job, std::size_t at) {
  return {job.k, job.bits, job.tweak + at, min_size(kTables, job.n - at)};
}

// Table j -> function[own ^ j]; the function is permuted in a register, so the secret indexes no memory.
void join_send(const Lookup& job, const u8* w, const u8* delta, const u8* shifts, const u8* own, const u8* function,
               u8* messages, u8* share) {
  const int options = 1 << job.k;
  alignas(16) u8 padded[16] = {};
  std::memcpy(padded, function, static_cast<std::size_t>(options));
  const __m128i whole_function = _mm_load_si128(reinterpret_cast<const __m128i*>(padded));
  const __m128i iota = _mm_set_epi64x(0x0f0e0d0c0b0a0908ll, 0x0706050403020100ll);
  alignas(64) u8 table[kTables * 16 + 16];
  for (std::size_t at = 0; at < job.n; at += kTables) {
    const Lookup part = chunk_of(job, at);
    for (std::size_t i = 0; i < part.n; i++) {
      const __m128i order = _mm_xor_si128(iota, _mm_set1_epi8(static_cast<char>(own[at + i])));
      // Rows are shorter than a register for k < 4: the next row overwrites what is too much.
      _mm_storeu_si128(reinterpret_cast<__m128i*>(table + i * static_cast<std::size_t>(options)),
                       _mm_shuffle_epi8(whole_function, order));
    }
    lookup_send(part, Table::kGiven, w + 16 * at, delta, shifts + at, table,
                messages + at / 8 * static_cast<std::size_t>((options - 1) * job.bits), share + at);
  }
}

MOIETY_INLINE u64 lifted(u64 x, int bits) {
  return static_cast<u64>(static_cast<std::int64_t>(x << (64 - bits)) >> (64 - bits));
}

void mux_server(const Lookup& job, int in_bits, const u8* w, const u8* delta, const u8* shifts, const u64* x,
                const u8* gate, const u8* flip, u8* messages, u64* share) {
  const u64 top = in_bits < 64 ? u64{1} << in_bits : 0;
  alignas(64) u64 table[kTables * 4];
  for (std::size_t at = 0; at < job.n; at += kTables) {
    const Lookup part = chunk_of(job, at);
    for (std::size_t i = 0; i < part.n; i++) {
      const u64 value = x[at + i], lift = lifted(value, in_bits), m0 = value >> (in_bits - 1) & 1;
      const u64 flipped = -static_cast<u64>(flip[at + i]), open0 = -static_cast<u64>(gate[at + i]);
      for (unsigned j = 0; j < 4; j++) {
        const u64 d1 = -static_cast<u64>(j & 1), m1 = j >> 1;
        const u64 positive = lift + top * (m0 & m1), negative = lift - top * ((m0 ^ 1) & (m1 ^ 1));
        table[4 * i + j] = (positive ^ ((positive ^ negative) & flipped)) & (open0 ^ d1);
      }
    }
    arith_send(part, w + 16 * at, delta, shifts + at, table,
               messages + at / 8 * static_cast<std::size_t>(3 * job.bits), share + at);
  }
}

void mux_client(const Lookup& job, int in_bits, const u8* w, const u8* delta, const u8* shifts, const u64* x,
                const u8* gate, u8* messages, u64* share) {
  alignas(64) u64 table[kTables * 2];
  for (std::size_t at = 0; at < job.n; at += kTables) {
    const Lookup part = chunk_of(job, at);
    for (std::size_t i = 0; i < part.n; i++) {
      const u64 lift = lifted(x[at + i], in_bits), open = -static_cast<u64>(gate[at + i]);
      table[2 * i] = lift & open;
      table[2 * i + 1] = lift & ~open;
    }
    arith_send(part, w + 16 * at, delta, shifts + at, table, messages + at / 8 * static_cast<std::size_t>(job.bits),
               share + at);
  }
}

}  // namespace
}  // namespace moiety
