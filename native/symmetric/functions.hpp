// Answers under prepared pads of a public function of a small secret: a digit compared with the
// option's index, a gate on shared bits. A row, all options of an element, is a lane of a register,
// which holds 16 to 64 of them. For AVX-512 with VBMI; elsewhere, and of other widths, the lookups
// of lookup.hpp answer, in which the table is written out.
#pragma once

#include "symmetric/transfer.hpp"

namespace moiety {

#if defined(MOIETY_LOOPS)
namespace {

#if defined(__AVX512VBMI__)

// Rows of 2^K fields of `Bits` bits.
template <int K, int Bits>
class ShortRows {
 public:
  static constexpr int kWidth = Bits << K, kLane = kWidth < 8 ? 8 : kWidth;
  static_assert(kWidth == 4 || kWidth == 8 || kWidth == 16 || kWidth == 32);
  static constexpr std::size_t kElements = 512 / kLane;  // of a register
  static constexpr std::size_t kPadBytes = kElements * kWidth / 8;
  static constexpr std::size_t kMessageBytes = kElements * (kWidth - Bits) / 8;

  // Field j of the row of x is `entry(x, j)`.
  template <class Entry>
  explicit ShortRows(Entry entry) : function_(table(entry)) {
    for (unsigned j = 0; j < K; j++) {
      exchanged_[j] = table([j](unsigned shift, unsigned option) {
        return static_cast<u8>((shift & ~option) >> j & 1 ? low_mask(Bits) : 0);
      });
    }
  }

  // The answers to kElements elements, and the shares of them.
  MOIETY_INLINE void answer(const u8* pads, const u8* shifts, const u8* x, u8* messages,
                            u8* share) const {
    const __m512i row = _mm512_xor_si512(under(pads, place(shifts)),
                                         _mm512_permutexvar_epi8(place(x), function_)),
                  own = _mm512_and_si512(row, lanes(low_mask(Bits)));
    store_bytes(share, own);
    // Field 0 becomes zero, which is not sent.
    const __m512i fields = _mm512_xor_si512(row, times(own, kFirsts));
    messages_.put(messages, joined<kLane, kWidth - Bits>(_mm512_srli_epi64(fields, Bits)));
  }

 private:
  static constexpr u64 kFirsts = low_mask(kWidth) / low_mask(Bits);  // bit 0 of every field

  static __m512i lanes(u64 x) {
    if constexpr (kLane == 8) return _mm512_set1_epi8(static_cast<char>(x));
    if constexpr (kLane == 16) return _mm512_set1_epi16(static_cast<short>(x));
    return _mm512_set1_epi32(static_cast<int>(x));
  }

  // Of lanes; the products of bytes do not reach the next one.
  static __m512i times(__m512i x, u64 factor) {
    if constexpr (kLane == 32) return _mm512_mullo_epi32(x, lanes(factor));
    return _mm512_mullo_epi16(x, _mm512_set1_epi16(static_cast<short>(factor)));
  }

  // The rows of all values of a byte, one after the other.
  template <class Entry>
  static __m512i table(Entry entry) {
    alignas(64) u8 rows[64] = {};
    for (unsigned x = 0; x < 1 << K; x++) {
      u64 row = 0;
      for (unsigned j = 0; j < 1 << K; j++) row |= (entry(x, j) & low_mask(Bits)) << j * Bits;
      std::memcpy(rows + x * (kLane / 8), &row, kLane / 8);
    }
    return _mm512_load_si512(rows);
  }

  // Where the rows of bytes are in a table.
  static __m512i place(const u8* bytes) {
    if constexpr (kLane == 8) return _mm512_loadu_si512(bytes);
    if constexpr (kLane == 16) {
      const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
      return _mm512_add_epi8(times(_mm512_cvtepu8_epi16(narrow), 0x0202), lanes(0x0100));
    } else {
      const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
      return _mm512_add_epi8(times(_mm512_cvtepu8_epi32(narrow), 0x04040404), lanes(0x03020100));
    }
  }

  static void store_bytes(u8* to, __m512i x) {
    if constexpr (kLane == 8) _mm512_storeu_si512(to, x);
    if constexpr (kLane == 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(x));
    if constexpr (kLane == 32)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x));
  }

  // The pads, that of option j where j ^ shift was. `place`: of the shifts.
  MOIETY_INLINE __m512i under(const u8* pads, __m512i place) const {
    __m512i row;
    if constexpr (kWidth == 4) {
      const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pads));
      const __m512i pair = _mm512_cvtepu8_epi16(pairs);
      row = _mm512_and_si512(_mm512_or_si512(pair, _mm512_slli_epi16(pair, 4)), lanes(0x0f));
    } else {
      row = _mm512_loadu_si512(pads);
    }
    MOIETY_UNROLL
    for (int j = 0; j < K; j++) {
      const __m512i lower = _mm512_permutexvar_epi8(place, exchanged_[j]),
                    moved = _mm512_srli_epi64(row, Bits << j),
                    apart = _mm512_and_si512(_mm512_xor_si512(row, moved), lower);
      row = _mm512_ternarylogic_epi64(row, apart, _mm512_slli_epi64(apart, Bits << j), 0x96);
    }
    return row;
  }

  // Fields of lanes, joined two by two until they are those of words.
  template <int Lane, int Field>
  static __m512i joined(__m512i x) {
    if constexpr (Lane == 64) {
      return x;
    } else {
      __m512i low, upper;
      if constexpr (Lane == 8) {
        low = _mm512_set1_epi16(low_mask(Field)), upper = _mm512_srli_epi16(x, Lane - Field);
      } else if constexpr (Lane == 16) {
        low = _mm512_set1_epi32(low_mask(Field)), upper = _mm512_srli_epi32(x, Lane - Field);
      } else {
        low = _mm512_set1_epi64(low_mask(Field)), upper = _mm512_srli_epi64(x, Lane - Field);
      }
      // x where `low` has a bit
      return joined<2 * Lane, 2 * Field>(_mm512_ternarylogic_epi64(low, x, upper, 0xca));
    }
  }

  __m512i function_, exchanged_[K];
  Eights messages_{(kWidth - Bits) * (64 / kLane)};
};

template <int K, int Bits, class Entry>
MOIETY_NOINLINE void send_short_rows(Lookup job, Sender side, const u8* x, u8* messages, u8* share,
                                     Entry entry) {
  using Rows = ShortRows<K, Bits>;
  const Rows rows(entry);
  const auto answer = [&rows](const u8* pads, const u8* shifts, const u8* values, u8* to,
                              u8* kept) __attribute__((always_inline)) {
    MOIETY_UNROLL
    for (std::size_t i = 0, part = 0; i < kGroup; i += Rows::kElements, part++) {
      rows.answer(pads + part * Rows::kPadBytes, shifts + i, values + i,
                  to + part * Rows::kMessageBytes, kept + i);
    }
  };
  std::size_t at = 0;
  for (; at + kGroup <= job.n; at += kGroup) {
    answer(side.w + job.pads_before(at, 1 << K), side.shifts + at, x + at,
           messages + job.bytes_before(at), share + at);
  }
  const std::size_t have = job.n - at;
  if (have == 0) return;
  alignas(64) u8 pad_tail[kGroup * Rows::kWidth / 8] = {}, shift_tail[kGroup], x_tail[kGroup];
  alignas(64) u8 last[kGroup * Rows::kWidth / 8], kept[kGroup];
  const std::size_t before = job.pads_before(at, 1 << K);
  std::memcpy(pad_tail, side.w + before, job.pad_bytes(1 << K) - before);
  answer(pad_tail, whole(side.shifts + at, have, kGroup, shift_tail),
         whole(x + at, have, kGroup, x_tail), last, kept);
  finish_stream(last, have * job.row_bits());
  std::memcpy(messages + job.bytes_before(at), last, job.message_bytes() - job.bytes_before(at));
  std::memcpy(share + at, kept, have);
}

// Answers the elements with `entry(x, j)` for option j, and says so, or does nothing where rows are
// not short.
template <class Entry>
bool send_function(const Lookup& job, const Sender& side, const u8* x, u8* messages, u8* share,
                   Entry entry) {
  if (!job.prepared() || job.k < 2 || job.bits > 2) return false;
  with_width(job.k, [&]<int K>() {
    if constexpr (K >= 2) {
      if (job.bits == 1) return send_short_rows<K, 1>(job, side, x, messages, share, entry);
      send_short_rows<K, 2>(job, side, x, messages, share, entry);
    }
  });
  return true;
}

#else

template <class... X>
bool send_function(const X&...) {
  return false;
}

#endif

}  // namespace
#endif

}  // namespace moiety
