// What all lookups share: the walk over groups of elements, and fields of any width.
#pragma once

#if defined(MOIETY_LOOPS)
#include "symmetric/width.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "symmetric/pads.hpp"

namespace moiety {

#if defined(MOIETY_LOOPS)
namespace {

// Asks for a group's table before its pads are computed: by then the processor's own prefetching
// has lost the trail (measured: twice as fast for tables of eight words). Past the end of an array
// it does nothing.
MOIETY_INLINE void prefetch(const void* from, std::size_t bytes) {
  const char* p = static_cast<const char*>(from);
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at);
}

// Bytes of a group's messages at most, of fields as wide as the pads.
template <int K, class T>
inline constexpr std::size_t kGroupBytes = ((1 << K) - 1) * sizeof(T) * kGroup;
// The sender's side of a lookup, group by group: `ask(at)` before the pads are made, then
// `emit(at, have, pads, to)` with pad j of element i in the order of the receiver's *u*,
// `pads[i * 2^K + j]`, and the stream to which the group's fields go. Nothing is written past the
// end of the messages: another thread's may begin there.
template <int K, class T, class Ask, class Emit>
MOIETY_INLINE void send(Lookup job, Sender side, u8* messages, Ask ask, Emit emit) {
  OptionPads<K, T> pads(job, side);
  alignas(64) u8 last[kGroupBytes<K, T> + kOverrun];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = least(kGroup, job.n - at);
    ask(at);
    const T* of_group = pads.at(at);
    u8* group = messages + job.bytes_before(at);
    BitWriter to(at + kGroup < job.n ? group : last);
    emit(at, have, of_group, to);
    if (at + kGroup >= job.n) {
      finish_stream(last, have * job.row_bits());
      std::memcpy(group, last, (have * job.row_bits() + 7) / 8);
    }
  }
}

// The receiver's side, group by group: `open(at, have, pads, from)` with its pads and the group's
// fields, of which 16 bytes past the end may be read.
template <int K, class T, class Open>
MOIETY_INLINE void receive(Lookup job, Receiver side, Open open) {
  ChoicePads<K, T> pads(job, side);
  alignas(64) u8 message_tail[kGroupBytes<K, T> + kOverrun];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const std::size_t have = least(kGroup, job.n - at);
    const T* of_group = pads.at(at);
    const u8* from = side.messages + job.bytes_before(at);
    if (job.n - at < 3 * kGroup) {  // the group after this one may be shorter than an overrun
      const std::size_t bytes = (have * job.row_bits() + 7) / 8;
      std::memcpy(message_tail, from, bytes);
      std::memset(message_tail + bytes, 0, kOverrun);
      from = message_tail;
    }
    open(at, have, of_group, from);
  }
}

// --- fields of any width -------------------------------------------------------------------------

struct Xor {
  static u64 add(u64 a, u64 b) { return a ^ b; }
  static u64 subtract(u64 a, u64 b) { return a ^ b; }
};

struct Additive {
  static u64 add(u64 a, u64 b) { return a + b; }
  static u64 subtract(u64 a, u64 b) { return a - b; }
};

// One element's messages, `entry(j)` under pad j ^ shift. Returns the sender's share, chosen so
// that message 0 is zero and needs not be sent.
template <int K, class Group, class Entry>
MOIETY_INLINE u64 put_row(BitWriter& to, const u64* pads, u8 shift, int bits, Entry entry) {
  constexpr unsigned kOptions = 1 << K;
  const u64 mask = low_mask(bits);
  const unsigned place = shift & (kOptions - 1);  // public
  const u64 share = Group::add(entry(0), pads[place]);
  MOIETY_UNROLL
  for (unsigned j = 1; j < kOptions; j++) {
    to.put_wide(Group::add(Group::subtract(entry(j), share), pads[j ^ place]) & mask, bits);
  }
  return share & mask;
}

// A group's chosen fields, zero where that is field 0. All fields are read and masked.
template <int K>
MOIETY_INLINE void choose(const u8* from, const u8* choices, std::size_t have, int bits,
                          u64* chosen) {
  std::size_t position = 0;
  for (std::size_t i = 0; i < have; i++) {
    const u64 choice = choices[i];
    chosen[i] = 0;
    MOIETY_UNROLL
    for (u64 j = 1; j < 1 << K; j++) {
      const u64 equal = -(((choice ^ j) - 1) >> 63);  // all ones where choice == j
      chosen[i] |= read_bits(from, position, bits) & equal;
      position += bits;
    }
  }
}

#if defined(__AVX512VBMI__)
// The same, of rows that are one register each: the eight bytes in which a field begins are taken
// by a permutation within it. `choices` are a whole group's.
MOIETY_INLINE void choose_in_register(const u8* from, const u8* choices, std::size_t have, int bits,
                                      std::size_t row_bits, u64* chosen) {
  alignas(64) u64 taken[kGroup], by[kGroup], byte[kGroup] = {};
  for (u64 i = 0; i < kGroup; i++) {
    const u64 choice = choices[i] & 15, any = (choice + 15) >> 4;  // 1 but for field 0
    const u64 position = (i * row_bits & 7) + (choice - any) * static_cast<u64>(bits);
    taken[i] = -any & low_mask(bits), by[i] = position & 7, byte[i] = position >> 3;
  }
  const __m512i iota = _mm512_set1_epi64(0x0706050403020100ll);
  const __mmask64 read = low_mask(static_cast<int>((row_bits + 14) / 8));
  for (std::size_t i = 0; i < have; i++) {
    const __m512i row = _mm512_maskz_loadu_epi8(read, from + (i * row_bits >> 3)),
                  at = _mm512_add_epi8(iota, _mm512_set1_epi8(static_cast<char>(byte[i])));
    chosen[i] = static_cast<u64>(
        _mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_permutexvar_epi8(at, row))));
  }
  for (std::size_t i = 0; i < kGroup; i++) chosen[i] = chosen[i] >> by[i] & taken[i];
}
#endif

// The chosen message, less the pad, of every element: a group's go to `room(at)`, then
// `done(at, have)` is called.
template <int K, class Group, class Room, class Done>
MOIETY_NOINLINE void receive_words(Lookup job, Receiver side, Room room, Done done) {
  const int bits = job.bits;
  const u64 mask = low_mask(bits);
  alignas(64) u8 choice_tail[kGroup];
  alignas(64) u64 chosen[kGroup] = {};
  receive<K, u64>(job, side,
                  [&](std::size_t at, std::size_t have, const u64* pads, const u8* from) {
                    const u8* choices = whole(side.choices + at, have, kGroup, choice_tail);
                    u64* opened = room(at);
#if defined(__AVX512VBMI__)
                    if (bits <= 57 && job.row_bits() <= 512 - 7) {
                      choose_in_register(from, choices, have, bits, job.row_bits(), chosen);
                    } else {
                      choose<K>(from, choices, have, bits, chosen);
                    }
#else
        choose<K>(from, choices, have, bits, chosen);
#endif
                    for (std::size_t i = 0; i < have; i++)
                      opened[i] = Group::subtract(chosen[i], pads[i]) & mask;
                    done(at, have);
                  });
}

// --- 1-of-2 transfers of words -------------------------------------------------------------------

// A 1-of-2 transfer of words: `entry(i, j)` is entry j of element i, and `keep(i, share)` takes the
// sender's share of it.
template <class Entry, class Keep>
MOIETY_INLINE void send_pairs(Lookup job, Sender side, u8* messages, Entry entry, Keep keep) {
  const u64 mask = low_mask(job.bits);
  alignas(64) u64 fields[kGroup] = {};
  const auto ask = [](std::size_t) {};
  send<1, u64>(job, side, messages, ask,
               [&](std::size_t at, std::size_t have, const u64* pads, BitWriter& to) {
                 for (std::size_t i = 0; i < have; i++) {
                   const u64 shift = -static_cast<u64>(side.shifts[at + i]);  // public
                   const u64 swap = (pads[2 * i] ^ pads[2 * i + 1]) & shift;
                   const u64 share = entry(at + i, 0) + (pads[2 * i] ^ swap);
                   fields[i] = (entry(at + i, 1) - share + (pads[2 * i + 1] ^ swap)) & mask;
                   keep(at + i, share & mask);
                 }
                 put_group(to, fields, have, job.bits);
               });
}

// The receiver's side: `keep(i, opened)` takes its share.
template <class Keep>
MOIETY_INLINE void receive_pairs(Lookup job, Receiver side, Keep keep) {
  const u64 mask = low_mask(job.bits);
  alignas(64) u64 fields[kGroup];
  receive<1, u64>(job, side,
                  [&](std::size_t at, std::size_t have, const u64* pads, const u8* from) {
                    unpack64(from, have, job.bits, fields);
                    for (std::size_t i = 0; i < have; i++) {
                      const u64 chosen = fields[i] & -static_cast<u64>(side.choices[at + i]);
                      keep(at + i, (chosen - pads[i]) & mask);
                    }
                  });
}

}  // namespace
#elif defined(MOIETY_BINDINGS)
namespace {

// Of as many elements as there are blocks or, where a stream of prepared pads is in their place,
// `shifts` or choices.
Lookup checked_lookup(u64 k, u64 bits, u64 max_bits, const Array& key, const Array& blocks,
                      const Array& shifts) {
  check_range("k", k, 1, 4);
  check_range("bits", bits, 1, max_bits);
  const bool prepared = blocks.ndim() == 1;
  const u8* first = checked<u8>("key", key, {prepared ? std::size_t{0} : 16});
  return {static_cast<int>(k), static_cast<int>(bits), prepared ? nullptr : first,
          rows_of(prepared ? shifts : blocks)};
}

const u8* checked_pads(const char* name, const Lookup& job, const Array& pads, int each) {
  return job.prepared() ? checked<u8>(name, pads, {job.pad_bytes(each)})
                        : checked<u8>(name, pads, {kAny, 16});
}

Sender checked_sender(const Lookup& job, const Array& w, const Array& delta, const Array& shifts) {
  const Sender side{.w = checked_pads("w", job, w, 1 << job.k),
                    .delta = checked<u8>("delta", delta, {job.prepared() ? std::size_t{0} : 16}),
                    .shifts = checked<u8>("shifts", shifts, {job.n})};
  if (exceeds(side.shifts, job.n, job.k)) refuse("shifts must be below 2^" + std::to_string(job.k));
  return side;
}

// `u` has done its work in the shifts: only its shape is checked.
Receiver checked_receiver(const Lookup& job, const Array& v, const Array& choices, const Array& u,
                          const Array& messages) {
  const Receiver side{.v = checked_pads("v", job, v, 1),
                      .choices = checked<u8>("choices", choices, {job.n}),
                      .messages = checked<u8>("messages", messages, {job.message_bytes()})};
  checked<u8>("u", u, {job.n});
  return side;
}

// Nanoseconds: a pad for every option and its messages.
Work sender_work(const Lookup& job) { return {job.n, 1 + 0.4 * (1 << job.k)}; }
Work receiver_work(const Lookup& job) { return {job.n, 2}; }

// Runs a sender's kernel, `run(first, part, side, messages, share)` on the elements of each range
// from number `first` on, and returns messages and share.
template <class T, class Run>
nb::tuple sent(Pool* pool, const Lookup& job, const Sender& side, std::vector<std::size_t> shape,
               Run run) {
  const Output<u8> messages({job.message_bytes()});
  const Output<T> share(std::move(shape));
  without_gil(pool, sender_work(job), [&](Range at) noexcept {
    run(at.start, job.part(at), side.from(job, at.start),
        messages.data() + job.bytes_before(at.start), share.data() + at.start);
  });
  return nb::make_tuple(messages.array(), share.array());
}

// Runs a receiver's kernel, `run(first, part, side, share)` on each range, and returns the share.
template <class T, class Run>
Out<T> received(Pool* pool, const Lookup& job, const Receiver& side, std::vector<std::size_t> shape,
                Run run) {
  const Output<T> share(std::move(shape));
  without_gil(pool, receiver_work(job), [&](Range at) noexcept {
    run(at.start, job.part(at), side.from(job, at.start), share.data() + at.start);
  });
  return share.array();
}

}  // namespace
#endif

}  // namespace moiety
