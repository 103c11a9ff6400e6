// The hash, and the lookups made from it. Part of symmetric_kernels.hpp.
#pragma once

namespace moiety {
namespace {

template <int N>
MOIETY_INLINE void hash(const Schedule& key, Reg (&state)[N], const Reg (&tweak)[N]) {
  encrypt(key, state);
  Reg once[N];
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) {
    once[i] = state[i];
    state[i] = V::bxor(state[i], tweak[i]);
  }
  encrypt(key, state);
  MOIETY_UNROLL
  for (int i = 0; i < N; i++) state[i] = V::bxor(state[i], once[i]);
}

template <class T>
MOIETY_INLINE void store_low(T* to, Reg even, Reg odd) {
  if constexpr (sizeof(T) == 8) {
    V::store_low64(reinterpret_cast<u8*>(to), even, odd);
  } else {
    V::store_low8(to, even, odd);
  }
}

constexpr int kPairs = 4;  // pairs of vectors in flight

// Multiples of delta, arranged for `sender_pads`.
struct Multiples {
  alignas(64) u8 block[16][16];

  Multiples(const u8* delta, int k) {
    std::memset(block[0], 0, 16);
    u8 power[16];
    std::memcpy(power, delta, 16);
    for (int j = 0; j < k; j++) {
      for (int x = 1 << j; x < 2 << j; x++) {
        for (int c = 0; c < 16; c++) block[x][c] = block[x - (1 << j)][c] ^ power[c];
      }
      for (int c = 0; c < 16; c++) power[c] = (power[c] << 1 & 0xee) ^ (power[c] >> 3 & 0x11) * 3;
    }
  }
};

// Pads of one group, position i*2^K + x holding H(tweak + i, w_i + x*delta). Even positions go through one vector and
// odd ones through another, so that unpacking their low halves restores the order.
template <int K, class T>
void sender_pads(const Schedule& key, const u8* w, const Multiples& multiples, u64 tweak, T* pads) {
  constexpr int kSpan = 2 * kB;                                     // positions of a pair
  constexpr int kPeriod = (1 << K) > kSpan ? (1 << K) / kSpan : 1;  // pairs until the options repeat
  alignas(64) u8 arranged[kPeriod][2][kVecBytes];
  alignas(64) u8 lanes[kVecBytes] = {};
  for (int p = 0; p < kPeriod; p++) {
    for (int l = 0; l < kSpan; l++) {
      std::memcpy(arranged[p][l & 1] + 16 * (l / 2), multiples.block[(p * kSpan + l) & ((1 << K) - 1)], 16);
    }
  }
  for (int l = 0; l < kB; l++) lanes[16 * l] = static_cast<u8>((2 * l) >> K);
  const Reg lane = V::load(lanes);
  for (int position = 0; position < static_cast<int>(kGroup) << K; position += kPairs * kSpan) {
    Reg state[2 * kPairs], tweaks[2 * kPairs];
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) {
      const int element = (position + p * kSpan) >> K;
      const int phase = (kPeriod <= kPairs ? p : position / kSpan + p) % kPeriod;
      const Reg base = V::template spread<K>(w + 16 * element);
      state[2 * p] = V::bxor(base, V::load(arranged[phase][0]));
      state[2 * p + 1] = V::bxor(base, V::load(arranged[phase][1]));
      tweaks[2 * p] = tweaks[2 * p + 1] = V::add64(V::lo64(tweak + element), lane);
    }
    hash(key, state, tweaks);
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) store_low(pads + position + p * kSpan, state[2 * p], state[2 * p + 1]);
  }
}

// Pads H(tweak + i, v_i) of one group.
template <class T>
void receiver_pads(const Schedule& key, const u8* v, u64 tweak, T* pads) {
  for (int at = 0; at < static_cast<int>(kGroup); at += 2 * kB * kPairs) {
    Reg state[2 * kPairs], tweaks[2 * kPairs];
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) {
      const int element = at + 2 * kB * p;
      state[2 * p] = V::load(v + 16 * element);
      state[2 * p + 1] = V::load(v + 16 * element + kVecBytes);
      V::even_odd(state[2 * p], state[2 * p + 1]);
      tweaks[2 * p] = V::add64(V::lo64(tweak + element), V::add64(V::count(), V::count()));
      tweaks[2 * p + 1] = V::add64(tweaks[2 * p], V::lo64(1));
    }
    hash(key, state, tweaks);
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) store_low(pads + at + 2 * kB * p, state[2 * p], state[2 * p + 1]);
  }
}

// A pointer to a whole group: the caller's memory, or for the last, short group a zero-padded copy in `copy`.
template <class T>
MOIETY_INLINE const T* whole(const T* from, std::size_t have, std::size_t want, T* copy) {
  if (have >= want) return from;
  std::memset(copy, 0, want * sizeof(T));
  std::memcpy(copy, from, have * sizeof(T));
  return copy;
}

// --- lookups --------------------------------------------------------------------------------------------------------

// Asks for a group's table before its pads are computed: by then the processor's own prefetching has lost the trail
// (measured: twice as fast for tables of eight words). Past the end of an array it does nothing.
MOIETY_INLINE void prefetch(const void* from, std::size_t bytes) {
  const char* p = static_cast<const char*>(from);
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at);
}

constexpr std::size_t min_size(std::size_t a, std::size_t b) { return a < b ? a : b; }

// Fields of 16 bytes (2^K options of 16 >> K elements, option 0 of each zero) to the stream.
template <int K>
MOIETY_INLINE void put_fields(BitWriter& to, __m128i fields, int bits) {
  const auto join16 = [](__m128i x, int by) __attribute__((always_inline)) {
    const __m128i high = _mm_sll_epi16(_mm_srli_epi16(x, 8), _mm_cvtsi32_si128(by));
    return _mm_or_si128(_mm_and_si128(x, _mm_set1_epi16(0xff)), high);
  };
  const auto join32 = [](__m128i x, int by) __attribute__((always_inline)) {
    const __m128i high = _mm_sll_epi32(_mm_srli_epi32(x, 16), _mm_cvtsi32_si128(by));
    return _mm_or_si128(_mm_and_si128(x, _mm_set1_epi32(0xffff)), high);
  };
  const auto join64 = [](__m128i x, int by) __attribute__((always_inline)) {
    const __m128i high = _mm_sll_epi64(_mm_srli_epi64(x, 32), _mm_cvtsi32_si128(by));
    return _mm_or_si128(_mm_and_si128(x, _mm_set1_epi64x(0xffffffff)), high);
  };
  int width;  // of each half's value
  if constexpr (K == 1) {
    fields = join64(join32(_mm_srli_epi16(fields, 8), bits), 2 * bits);
    width = 4 * bits;
  } else if constexpr (K == 2) {
    fields = _mm_srl_epi32(join32(join16(fields, bits), 2 * bits), _mm_cvtsi32_si128(bits));
    fields = join64(fields, 3 * bits);
    width = 6 * bits;
  } else {
    fields = join64(join32(join16(fields, bits), 2 * bits), 4 * bits);
    width = 7 * bits;
  }
  u64 low = static_cast<u64>(_mm_cvtsi128_si64(fields)), high = static_cast<u64>(_mm_extract_epi64(fields, 1));
  if constexpr (K == 4) {
    low >>= bits;
    if (15 * bits <= 56) {
      to.put(low | high << width, 15 * bits);
    } else {
      to.put(low, width);
      to.put_wide(high, 8 * bits);
    }
  } else {
    if constexpr (K == 3) low >>= bits, high >>= bits;
    to.put(low, width);
    to.put(high, width);
  }
}

template <int K, Table Kind>
void lookup_send_impl(const Lookup& job, const u8* w, const u8* delta, const u8* shifts, const u8* source, u8* messages,
                      u8* share) {
  constexpr int kOptions = 1 << K, kElements = 16 >> K;
  constexpr std::size_t kRow = Kind == Table::kGiven ? kOptions : 1;
  Schedule key;
  expand_key(kHashKey, key);
  const Multiples multiples(delta, K);
  const __m128i iota = _mm_set_epi64x(0x0f0e0d0c0b0a0908ll, 0x0706050403020100ll);
  const __m128i option = _mm_and_si128(iota, _mm_set1_epi8(kOptions - 1));
  const __m128i first = _mm_sub_epi8(iota, option);
  u8 index[16];
  for (int i = 0; i < 16; i++) index[i] = static_cast<u8>(i >> K);
  const __m128i element = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
  for (int i = 0; i < 16; i++) index[i] = static_cast<u8>(i << K & 15);
  const __m128i firsts = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
  const __m128i mask = _mm_set1_epi8(static_cast<char>(low_mask(job.bits)));
  const __m128i low_options = _mm_set1_epi8(kOptions - 1);

  alignas(64) u8 pads[kGroup * kOptions];
  alignas(64) u8 w_tail[16 * kGroup], shift_tail[kGroup], source_tail[kGroup * kRow];
  const auto elements_at = [&element](const u8* p) __attribute__((always_inline)) {
    if constexpr (K == 4) return _mm_set1_epi8(static_cast<char>(*p));
    u64 bytes = 0;
    std::memcpy(&bytes, p, kElements);
    return _mm_shuffle_epi8(_mm_cvtsi64_si128(static_cast<long long>(bytes)), element);
  };
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = min_size(kGroup, job.n - at);
    sender_pads<K>(key, whole(w + 16 * at, 16 * have, 16 * kGroup, w_tail), multiples, job.tweak + at, pads);
    const u8* shift = whole(shifts + at, have, kGroup, shift_tail);
    const u8* given = whole(source + at * kRow, have * kRow, kGroup * kRow, source_tail);
    BitWriter to(messages + at / 8 * (kOptions - 1) * job.bits);
    for (std::size_t i = 0; i < have; i += kElements) {
      const __m128i order = _mm_xor_si128(iota, _mm_and_si128(elements_at(shift + i), low_options));
      const __m128i pad =
          _mm_shuffle_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(pads + i * kOptions)), order);
      __m128i table;
      if constexpr (Kind == Table::kGiven) {
        table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(given + i * kOptions));
      } else {
        const __m128i digit = elements_at(given + i);
        table = _mm_and_si128(_mm_cmpgt_epi8(option, digit), _mm_set1_epi8(1));
        if constexpr (Kind == Table::kLessEqual) {
          table = _mm_or_si128(table, _mm_and_si128(_mm_cmpeq_epi8(option, digit), _mm_set1_epi8(2)));
        }
      }
      const __m128i fields = _mm_and_si128(_mm_xor_si128(pad, table), mask);
      const __m128i shares = _mm_shuffle_epi8(fields, firsts);
      std::memcpy(share + at + i, &shares, kElements);
      put_fields<K>(to, _mm_xor_si128(fields, _mm_shuffle_epi8(fields, first)), job.bits);
    }
  }
  finish_stream(messages, job.n * (kOptions - 1) * job.bits);
}

template <int K>
void lookup_send_kind(const Lookup& job, Table kind, const u8* w, const u8* delta, const u8* shifts, const u8* source,
                      u8* messages, u8* share) {
  switch (kind) {
    case Table::kGiven:
      return lookup_send_impl<K, Table::kGiven>(job, w, delta, shifts, source, messages, share);
    case Table::kLess:
      return lookup_send_impl<K, Table::kLess>(job, w, delta, shifts, source, messages, share);
    default:
      return lookup_send_impl<K, Table::kLessEqual>(job, w, delta, shifts, source, messages, share);
  }
}

void lookup_send(const Lookup& job, Table kind, const u8* w, const u8* delta, const u8* shifts, const u8* source,
                 u8* messages, u8* share) {
  switch (job.k) {
    case 1:
      return lookup_send_kind<1>(job, kind, w, delta, shifts, source, messages, share);
    case 2:
      return lookup_send_kind<2>(job, kind, w, delta, shifts, source, messages, share);
    case 3:
      return lookup_send_kind<3>(job, kind, w, delta, shifts, source, messages, share);
    default:
      return lookup_send_kind<4>(job, kind, w, delta, shifts, source, messages, share);
  }
}

constexpr std::size_t kMessageTail = 8 * 15 * 64 + 16;  // bytes of one group's widest message, and a reader's overrun

// A message group that may be read past its end: its length in bytes is `have`, of `want` for a whole group.
MOIETY_INLINE const u8* readable(const u8* from, std::size_t have, bool last, u8* copy) {
  if (!last) return from;
  std::memcpy(copy, from, have);
  std::memset(copy + have, 0, 16);
  return copy;
}

// 0 - bit j of a choice.
MOIETY_INLINE u64 bit_mask(u8 choice, int j) { return -static_cast<u64>(choice >> j & 1); }

template <int K>
void lookup_recv_impl(const Lookup& job, const u8* v, const u8* choices, const u8* messages, u8* share) {
  constexpr int kFields = (1 << K) - 1;
  Schedule key;
  expand_key(kHashKey, key);
  const int bits = job.bits, step = kFields * bits;
  const bool split = K == 4 && step > 56;
  const std::size_t group_bytes = kGroup / 8 * step;
  const u64 mask = low_mask(bits);
  alignas(64) u8 pads[kGroup], v_tail[16 * kGroup], choice_tail[kGroup], message_tail[8 * 15 * 8 + 16];
  alignas(64) u64 low[kGroup], high[kGroup];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = min_size(kGroup, job.n - at);
    receiver_pads(key, whole(v + 16 * at, 16 * have, 16 * kGroup, v_tail), job.tweak + at, pads);
    const u8* choice = whole(choices + at, have, kGroup, choice_tail);
    // The group after this one may be shorter than a reader's overrun.
    const bool last = job.n - at < 3 * kGroup;
    const u8* from = readable(messages + at / kGroup * group_bytes, (have * step + 7) / 8, last, message_tail);
    // Field 0 is not on the wire; shifting by one field puts its zero in front.
    if (split) {
      for (std::size_t i = 0; i < have; i++) {
        low[i] = read_bits(from, i * step, 7 * bits) << bits;
        high[i] = read_bits(from, i * step + 7 * bits, 8 * bits);
      }
    } else {
      for (std::size_t i = 0; i < have; i++) low[i] = read_bits(from, i * step, step) << bits;
    }
    // Every bit of the choice halves the fields; all of them are read and masked.
    if (split) {
      for (std::size_t i = 0; i < kGroup; i++) low[i] ^= (low[i] ^ high[i]) & bit_mask(choice[i], 3);
    }
    for (int j = split ? 2 : K - 1; j >= 0; j--) {
      for (std::size_t i = 0; i < kGroup; i++) low[i] ^= (low[i] ^ low[i] >> (bits << j)) & bit_mask(choice[i], j);
    }
    for (std::size_t i = 0; i < have; i++) share[at + i] = static_cast<u8>((low[i] ^ pads[i]) & mask);
  }
}

void lookup_recv(const Lookup& job, const u8* v, const u8* choices, const u8* messages, u8* share) {
  switch (job.k) {
    case 1:
      return lookup_recv_impl<1>(job, v, choices, messages, share);
    case 2:
      return lookup_recv_impl<2>(job, v, choices, messages, share);
    case 3:
      return lookup_recv_impl<3>(job, v, choices, messages, share);
    default:
      return lookup_recv_impl<4>(job, v, choices, messages, share);
  }
}

template <int K>
void arith_send_impl(const Lookup& job, const u8* w, const u8* delta, const u8* shifts, const u64* table, u8* messages,
                     u64* share) {
  constexpr int kOptions = 1 << K;
  Schedule key;
  expand_key(kHashKey, key);
  const Multiples multiples(delta, K);
  const u64 mask = low_mask(job.bits);
  alignas(64) u64 pads[kGroup * kOptions];
  alignas(64) u8 w_tail[16 * kGroup];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = min_size(kGroup, job.n - at);
    prefetch(table + at * kOptions, 8 * kGroup * kOptions);
    sender_pads<K>(key, whole(w + 16 * at, 16 * have, 16 * kGroup, w_tail), multiples, job.tweak + at, pads);
    BitWriter to(messages + at / 8 * (kOptions - 1) * job.bits);
    for (std::size_t i = 0; i < have; i++) {
      const u64* row = table + (at + i) * kOptions;
      const u64* pad = pads + i * kOptions;
      const unsigned shift = shifts[at + i] & (kOptions - 1);  // public
      const u64 mine = row[0] + pad[shift];
      share[at + i] = mine & mask;
      MOIETY_UNROLL
      for (unsigned j = 1; j < kOptions; j++) to.put_wide((row[j] - mine + pad[j ^ shift]) & mask, job.bits);
    }
  }
  finish_stream(messages, job.n * (kOptions - 1) * job.bits);
}

void arith_send(const Lookup& job, const u8* w, const u8* delta, const u8* shifts, const u64* table, u8* messages,
                u64* share) {
  switch (job.k) {
    case 1:
      return arith_send_impl<1>(job, w, delta, shifts, table, messages, share);
    case 2:
      return arith_send_impl<2>(job, w, delta, shifts, table, messages, share);
    case 3:
      return arith_send_impl<3>(job, w, delta, shifts, table, messages, share);
    default:
      return arith_send_impl<4>(job, w, delta, shifts, table, messages, share);
  }
}

template <int K>
void arith_recv_impl(const Lookup& job, const u8* v, const u8* choices, const u8* messages, u64* share) {
  constexpr int kFields = (1 << K) - 1;
  Schedule key;
  expand_key(kHashKey, key);
  const std::size_t group_bytes = kGroup / 8 * kFields * job.bits;
  const u64 mask = low_mask(job.bits);
  alignas(64) u64 pads[kGroup];
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
      share[at + i] = (chosen - pads[i]) & mask;
    }
  }
}

void arith_recv(const Lookup& job, const u8* v, const u8* choices, const u8* messages, u64* share) {
  switch (job.k) {
    case 1:
      return arith_recv_impl<1>(job, v, choices, messages, share);
    case 2:
      return arith_recv_impl<2>(job, v, choices, messages, share);
    case 3:
      return arith_recv_impl<3>(job, v, choices, messages, share);
    default:
      return arith_recv_impl<4>(job, v, choices, messages, share);
  }
}

}  // namespace
}  // namespace moiety
