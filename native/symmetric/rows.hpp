// Answers under prepared pads whose row, all options of an element, is one word: tables and pads
// stay there, where `send_bytes` of lookup.hpp, which does the same for any row, spreads them to
// bytes.
#pragma once

#include "symmetric/transfer.hpp"

namespace moiety {

// The lookup's table, or the comparison of a digit with the option's index.
enum class Table { kGiven, kLess, kLessEqual };

#if defined(MOIETY_LOOPS)
namespace {

// The fields of all options of every word exchanged, option j for option j ^ shift.
template <int K>
MOIETY_INLINE u64 exchanged(u64 row, u64 shift, int bits, const u64* lower) {
  MOIETY_UNROLL
  for (int j = 0; j < K; j++) {
    const u64 apart = (row ^ row >> (bits << j)) & lower[j] & -(shift >> j & 1);
    row ^= apart ^ apart << (bits << j);
  }
  return row;
}

// The table's entries as fields of one word, from its bytes.
template <int K>
MOIETY_INLINE u64 gathered(const u8* table, const Octets& octets, int bits) {
  u64 entries = 0;
  std::memcpy(&entries, table, least(8, 1 << K));
  u64 row = octets.join(entries);
  if constexpr (K == 4) row |= octets.join(load64(table + 8)) << 8 * bits;
  return row;
}

// As `send_bytes`, of prepared pads whose row, all options of an element, is at most a step of the
// stream's: it stays in one word, where spreading it to bytes takes three times as long.
template <int K, Table Kind>
void send_rows(Lookup job, Sender side, const u8* source, u8* messages, u8* share) {
  constexpr int kOptions = 1 << K;
  constexpr std::size_t kRow = Kind == Table::kGiven ? kOptions : 1;
  const int bits = job.bits, width = bits << K;
  const u64 all = low_mask(width), mask = low_mask(bits);
  u64 ones = 0, lower[K] = {};  // a bit of every field; fields whose option lacks bit j
  for (int option = 0; option < kOptions; option++) {
    ones |= u64{1} << option * bits;
    for (int j = 0; j < K; j++) lower[j] |= (option >> j & 1 ? 0 : mask) << option * bits;
  }
  const Octets octets(bits);
  alignas(64) u64 tables[kGroup] = {}, fields[kGroup], shares[kGroup];
  ChoicePads<K, u64> rows({job.k, width, nullptr, job.n}, {side.w, nullptr, nullptr});
  alignas(64) u8 shift_tail[kGroup], source_tail[kGroup * kRow];
  alignas(64) u8 last[kGroupBytes<K, u8> + kOverrun];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = least(kGroup, job.n - at);
    const u64* pads = rows.at(at);
    const u8* shift = whole(side.shifts + at, have, kGroup, shift_tail);
    const u8* given = whole(source + at * kRow, have * kRow, kGroup * kRow, source_tail);
    if constexpr (Kind == Table::kGiven) {
      for (std::size_t i = 0; i < kGroup; i++)
        tables[i] = gathered<K>(given + i * kRow, octets, bits);
    } else {
      for (std::size_t i = 0; i < kGroup; i++) {
        const u64 place = static_cast<u64>(given[i] & (kOptions - 1)) * bits;
        const u64 equal = Kind == Table::kLessEqual ? u64{2} << place : 0;
        tables[i] = (ones << place << bits & all) | equal;
      }
    }
    for (std::size_t i = 0; i < kGroup; i++) {
      const u64 row = exchanged<K>(pads[i], shift[i], bits, lower) ^ tables[i];
      u64 own = row & mask;
      shares[i] = own;
      MOIETY_UNROLL
      for (int j = 0; j < K; j++) own |= own << (bits << j);
      fields[i] = (row ^ own) >> bits & low_mask(width - bits);
    }
    for (std::size_t i = 0; i < have; i++) share[at + i] = static_cast<u8>(shares[i]);
    u8* group = messages + job.bytes_before(at);
    const bool ends = at + kGroup >= job.n;
    put_group(BitWriter(ends ? last : group), fields, have, width - bits);
    if (ends) {
      finish_stream(last, have * job.row_bits());
      std::memcpy(group, last, job.message_bytes() - job.bytes_before(at));
    }
  }
}

}  // namespace
#endif

}  // namespace moiety
