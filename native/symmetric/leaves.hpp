// Several digits compared with one choice: a field has a bit of every digit, so that the digits of
// an element are compared at once, in words of their bits.
#pragma once

#include "symmetric/transfer.hpp"

namespace moiety {

// `count` digits against one choice: fields of `count` bits lt, then (with_eq) `count` bits eq.
// Digits and shares are rows of `row` bytes.
struct Leaves {
  int count;
  bool with_eq;
  std::size_t row;
};

#if defined(MOIETY_LOOPS)
namespace {

// Bit `Place` of the group's bytes, as `bit` of the plane's. Bytes may alias anything but for what
// is said here, and the loop would not be vectorised.
template <int Place>
MOIETY_INLINE void gather_plane(const u8* __restrict row, u8 bit, u8* __restrict plane) {
  for (std::size_t i = 0; i < kGroup; i++)
    plane[i] |= static_cast<u8>(-(row[i] >> Place & 1)) & bit;
}

// A group's digits, `rows` of `step` bytes, of which `have` are its own: bit c of word b of element
// i is bit b of its digit c.
template <int K>
MOIETY_INLINE void cross_digits(const u8* rows, std::size_t step, int count, std::size_t have,
                                u64 (&words)[K][kGroup]) {
  alignas(64) u8 plane[K][kGroup], tail[kGroup];
  std::memset(words, 0, sizeof words);
  for (int first = 0; first < count; first += 8) {
    std::memset(plane, 0, sizeof plane);
    for (int c = first; c < count && c < first + 8; c++) {
      const u8* row = whole(rows + static_cast<std::size_t>(c) * step, have, kGroup, tail);
      const u8 bit = static_cast<u8>(1 << (c - first));
      gather_plane<0>(row, bit, plane[0]);
      if constexpr (K > 1) gather_plane<1>(row, bit, plane[1]);
      if constexpr (K > 2) gather_plane<2>(row, bit, plane[2]);
      if constexpr (K > 3) gather_plane<3>(row, bit, plane[3]);
    }
    for (int b = 0; b < K; b++) {
      for (std::size_t i = 0; i < kGroup; i++)
        words[b][i] |= static_cast<u64>(plane[b][i]) << first;
    }
  }
}

// A group's fields to rows of bytes: lt in bit 0, eq in bit 1.
MOIETY_INLINE void store_answers(const Leaves& leaves, const u64* fields, std::size_t have,
                                 u8* share) {
  alignas(64) u8 less[kGroup], equal[kGroup] = {}, answers[kGroup];
  for (int first = 0; first < leaves.count; first += 8) {
    for (std::size_t i = 0; i < kGroup; i++) less[i] = static_cast<u8>(fields[i] >> first);
    if (leaves.with_eq) {
      const int place = leaves.count + first;
      for (std::size_t i = 0; i < kGroup; i++) equal[i] = static_cast<u8>(fields[i] >> place);
    }
    for (int c = first; c < leaves.count && c < first + 8; c++) {
      const u8 bit = static_cast<u8>(1 << (c - first));
      for (std::size_t i = 0; i < kGroup; i++)
        answers[i] = static_cast<u8>((less[i] & bit ? 1 : 0) | (equal[i] & bit ? 2 : 0));
      std::memcpy(share + static_cast<std::size_t>(c) * leaves.row, answers, have);
    }
  }
}

// Comparisons bit by bit of the digits, from the lowest on: `less` and `equal` of the bits before.
// `option`: all ones where the option has the bit.
MOIETY_INLINE u64 less_with(u64 digits, u64 option, u64 less) {
  return (~digits & (option | less)) | (option & less);
}
MOIETY_INLINE u64 equal_with(u64 digits, u64 option, u64 equal) {
  return ~(digits ^ option) & equal;
}

// The tables of a group, option by option.
template <int K>
MOIETY_INLINE void compare(const Leaves& leaves, const u64 (&words)[K][kGroup],
                           u64 (&fields)[1 << K][kGroup]) {
  const u64 all = low_mask(leaves.count), first = leaves.with_eq ? all : 0;
  for (u64 j = 0; j < 1 << K; j++) {
    for (std::size_t i = 0; i < kGroup; i++) {
      u64 less = 0, equal = first;
      MOIETY_UNROLL
      for (int b = 0; b < K; b++) {
        const u64 option = -(j >> b & 1);
        less = less_with(words[b][i], option, less);
        equal = equal_with(words[b][i], option, equal);
      }
      fields[j][i] = (less & all) | equal << leaves.count;
    }
  }
}

#if defined(__AVX512VBMI__)

// Rows of 8 or 16 fields of words: an option is a lane.
template <int K>
class WideRows {
 public:
  static constexpr int kRegs = (1 << K) / 8;

  WideRows(const Lookup& job, const Leaves& leaves)
      : mask_(_mm512_set1_epi64(static_cast<long long>(low_mask(job.bits)))),
        digits_(_mm512_set1_epi64(static_cast<long long>(low_mask(leaves.count)))),
        equal_(leaves.with_eq ? digits_ : _mm512_setzero_si512()),
        place_(_mm_cvtsi32_si128(leaves.count)) {
    for (int r = 0; r < kRegs; r++) {
      index_[r] =
          _mm512_add_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(8 * r));
      for (int b = 0; b < K; b++) {
        option_[r][b] = _mm512_movm_epi64(
            _mm512_test_epi64_mask(index_[r], _mm512_set1_epi64(static_cast<long long>(1) << b)));
      }
    }
  }

  // The messages of element i, from option 1 on, and a word more; returns the share.
  MOIETY_INLINE u64 answer(const u64* pads, u8 shift, const u64 (&words)[K][kGroup], std::size_t i,
                           u64* fields) const {
    __m512i pad[kRegs], row[kRegs];
    for (int r = 0; r < kRegs; r++) pad[r] = _mm512_loadu_si512(pads + 8 * r);
    const __m512i turn = _mm512_set1_epi64(shift);
    MOIETY_UNROLL
    for (int r = 0; r < kRegs; r++) {
      const __m512i from = _mm512_xor_si512(index_[r], turn),
                    under = K == 3 ? _mm512_permutexvar_epi64(from, pad[0])
                                   : _mm512_permutex2var_epi64(pad[0], from, pad[kRegs - 1]);
      row[r] = _mm512_and_si512(_mm512_xor_si512(under, table(words, i, r)), mask_);
    }
    const __m128i share = _mm512_castsi512_si128(row[0]);
    const __m512i own = _mm512_broadcastq_epi64(share);
    for (int r = 0; r < kRegs; r++) row[r] = _mm512_xor_si512(row[r], own);
    for (int r = 0; r < kRegs; r++) {
      _mm512_storeu_si512(fields + 8 * r,
                          _mm512_alignr_epi64(row[r + 1 < kRegs ? r + 1 : r], row[r], 1));
    }
    return static_cast<u64>(_mm_cvtsi128_si64(share));
  }

 private:
  MOIETY_INLINE __m512i table(const u64 (&words)[K][kGroup], std::size_t i, int r) const {
    __m512i less = _mm512_setzero_si512(), equal = equal_;
    MOIETY_UNROLL
    for (int b = 0; b < K; b++) {
      const __m512i digits = _mm512_set1_epi64(static_cast<long long>(words[b][i]));
      less = _mm512_ternarylogic_epi64(digits, option_[r][b], less, 0x8e);    // less_with
      equal = _mm512_ternarylogic_epi64(digits, option_[r][b], equal, 0x82);  // equal_with
    }
    return _mm512_or_si512(_mm512_and_si512(less, digits_), _mm512_sll_epi64(equal, place_));
  }

  const __m512i mask_, digits_, equal_;
  const __m128i place_;
  __m512i index_[kRegs], option_[kRegs][K];
};

template <int K>
MOIETY_NOINLINE void send_wide_rows(Lookup job, Leaves leaves, Sender side, const u8* digits,
                                    u8* messages, u8* share) {
  constexpr std::size_t kSent = (1 << K) - 1;
  const WideRows<K> rows(job, leaves);
  const Eights eights(job.bits);
  alignas(64) u64 words[K][kGroup], fields[kGroup * kSent + 8], mine[kGroup] = {};
  const auto ask = [](std::size_t) {};
  send<K, u64>(job, side, messages, ask,
               [&](std::size_t at, std::size_t have, const u64* pads, const BitWriter& to) {
                 cross_digits(digits + at, leaves.row, leaves.count, have, words);
                 for (std::size_t i = 0; i < have; i++) {
                   mine[i] = rows.answer(pads + (i << K), side.shifts[at + i], words, i,
                                         fields + i * kSent);
                 }
                 u8* out = to.out();
                 for (std::size_t i = 0; i < have * kSent; i += 8, out += job.bits)
                   eights.put(out, _mm512_load_si512(fields + i));
                 store_answers(leaves, mine, have, share + at);
               });
}

#endif

template <int K>
void send_leaves(Lookup job, Leaves leaves, Sender side, const u8* digits, u8* messages,
                 u8* share) {
#if defined(__AVX512VBMI__)
  if constexpr (K >= 3) {
    if (Eights::takes(job.bits))
      return send_wide_rows<K>(job, leaves, side, digits, messages, share);
  }
#endif
  alignas(64) u64 words[K][kGroup], fields[1 << K][kGroup], mine[kGroup] = {};
  const auto ask = [](std::size_t) {};
  send<K, u64>(job, side, messages, ask,
               [&](std::size_t at, std::size_t have, const u64* pads, BitWriter& to) {
                 cross_digits(digits + at, leaves.row, leaves.count, have, words);
                 compare(leaves, words, fields);
                 for (std::size_t i = 0; i < have; i++) {
                   mine[i] = put_row<K, Xor>(to, pads + (i << K), side.shifts[at + i], job.bits,
                                             [&](unsigned j) { return fields[j][i]; });
                 }
                 store_answers(leaves, mine, have, share + at);
               });
}

void receive_leaves(const Lookup& job, const Leaves& leaves, const Receiver& side, u8* share) {
  alignas(64) u64 opened[kGroup] = {};
  const auto room = [&](std::size_t) { return opened; };
  const auto done = [&](std::size_t at, std::size_t have) {
    store_answers(leaves, opened, have, share + at);
  };
  with_width(job.k, [&]<int K>() { receive_words<K, Xor>(job, side, room, done); });
}

}  // namespace
#endif

}  // namespace moiety
