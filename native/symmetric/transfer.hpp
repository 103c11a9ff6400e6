// What all lookups share: the two sides' arguments, the pads, and the walk over groups of elements.
// `sender_pads` and `receiver_pads` of reference/transfers.py specify the pads: hashed where they are
// used, or made beforehand and read from a stream.
#pragma once

#if defined(MOIETY_LOOPS)
#include "bitstream.hpp"
#include "field.hpp"
#include "symmetric/streams.hpp"
#include "symmetric/width.hpp"
#include "vector/aes.hpp"
#elif defined(MOIETY_BINDINGS)
#include "arguments.hpp"
#endif
#include "common.hpp"

namespace moiety {

struct Lookup {
  int k;                  // 2^k options
  int bits;               // of a field
  const u8* key;          // of element 0; every per_key(k) elements later it counts up. Null where
                          // the pads were made beforehand
  std::size_t n;          // elements
  std::size_t first = 0;  // number of the first one

  std::size_t row_bits() const { return static_cast<std::size_t>(((1 << k) - 1) * bits); }
  // Of the elements before number `at`, a multiple of 8.
  std::size_t bytes_before(std::size_t at) const { return at / 8 * row_bits(); }
  std::size_t message_bytes() const { return (n * row_bits() + 7) / 8; }
  bool prepared() const { return key == nullptr; }
  // Of the blocks before element `at`, or of the pads in their place, `each` to an element.
  std::size_t pads_before(std::size_t at, int each) const {
    return prepared() ? at / 8 * static_cast<std::size_t>(each * bits) : 16 * at;
  }
  std::size_t pad_bytes(int each) const {
    return (n * static_cast<std::size_t>(each * bits) + 7) / 8;
  }
  // Some of them, from a number where a key begins.
  Lookup part(Range at) const { return {k, bits, key, at.size(), first + at.start}; }
};

// With prepared pads, w is their stream, and delta is null.
struct Sender {
  const u8 *w, *delta, *shifts;

  // From element `start` on, a multiple of 8.
  Sender from(const Lookup& job, std::size_t start) const {
    return {w + job.pads_before(start, 1 << job.k), delta, shifts + start};
  }
};

// With prepared pads, v is their stream.
struct Receiver {
  const u8 *v, *choices, *messages;

  Receiver from(const Lookup& job, std::size_t start) const {
    return {v + job.pads_before(start, 1), choices + start, messages + job.bytes_before(start)};
  }
};

#if defined(MOIETY_LOOPS)
namespace {

template <class T>
MOIETY_INLINE void store_low(T* to, Reg even, Reg odd) {
  if constexpr (sizeof(T) == 8) {
    V::store_low64(reinterpret_cast<u8*>(to), even, odd);
  } else {
    V::store_low8(to, even, odd);
  }
}

constexpr int kPairs = 4;  // pairs of vectors in flight

static_assert(per_key(4) % kGroup == 0, "a group has one key");

// The key of the group at `at`, where it is a new one.
template <int K>
MOIETY_INLINE void next_key(const Lookup& job, std::size_t at, Schedule& key) {
  constexpr std::size_t kSpan = per_key(K);
  if (kSpan == kGroup || at % kSpan == 0) expand_key(job.key, (job.first + at) / kSpan, key);
}

// Pads of one group, position i*2^K + x holding H(w_i + x*delta). Even positions go through one
// vector and odd ones through another, so that unpacking their low halves restores the order.
template <int K, class T>
void sender_pads(const Schedule& key, const u8* w, const Multiples& multiples, T* pads) {
  constexpr int kSpan = 2 * kB;  // positions of a pair
  // Pairs until the options repeat.
  constexpr int kPeriod = (1 << K) > kSpan ? (1 << K) / kSpan : 1;
  alignas(64) u8 arranged[kPeriod][2][kVecBytes];
  for (int p = 0; p < kPeriod; p++) {
    for (int l = 0; l < kSpan; l++) {
      std::memcpy(arranged[p][l & 1] + 16 * (l / 2),
                  multiples.block[(p * kSpan + l) & ((1 << K) - 1)], 16);
    }
  }
  for (int position = 0; position < static_cast<int>(kGroup) << K; position += kPairs * kSpan) {
    Reg state[2 * kPairs];
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) {
      const int element = (position + p * kSpan) >> K;
      const int phase = (kPeriod <= kPairs ? p : position / kSpan + p) % kPeriod;
      const Reg base = V::template spread<K>(w + 16 * element);
      state[2 * p] = V::bxor(base, V::load(arranged[phase][0]));
      state[2 * p + 1] = V::bxor(base, V::load(arranged[phase][1]));
    }
    mmo(key, state);
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++)
      store_low(pads + position + p * kSpan, state[2 * p], state[2 * p + 1]);
  }
}

// Pads H(v_i) of one group.
template <class T>
void receiver_pads(const Schedule& key, const u8* v, T* pads) {
  for (int at = 0; at < static_cast<int>(kGroup); at += 2 * kB * kPairs) {
    Reg state[2 * kPairs];
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++) {
      const int element = at + 2 * kB * p;
      state[2 * p] = V::load(v + 16 * element);
      state[2 * p + 1] = V::load(v + 16 * element + kVecBytes);
      V::even_odd(state[2 * p], state[2 * p + 1]);
    }
    mmo(key, state);
    MOIETY_UNROLL
    for (int p = 0; p < kPairs; p++)
      store_low(pads + at + 2 * kB * p, state[2 * p], state[2 * p + 1]);
  }
}

// A pointer to a whole group: the caller's memory, or for the last, short group a zero-padded copy
// in `copy`.
template <class T>
MOIETY_INLINE const T* whole(const T* from, std::size_t have, std::size_t want, T* copy) {
  if (have >= want) return from;
  std::memset(copy, 0, want * sizeof(T));
  std::memcpy(copy, from, have * sizeof(T));
  return copy;
}

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
// Streams are read and written by so many bytes past their end at most.
inline constexpr std::size_t kOverrun = 16;

// Fields of a group from a stream of `rest` fields, all or the first of which are the group's.
template <class T>
MOIETY_INLINE void read_pads(const u8* from, std::size_t rest, std::size_t group, int bits,
                             T* pads) {
  alignas(64) u8 tail[3 * kOverrun + 16 * kGroup * sizeof(T)];
  const std::size_t have = least(rest, group);
  // What is read past a group's end is the next one's, or else a copy's.
  if ((rest - have) * static_cast<std::size_t>(bits) < 8 * kOverrun) {
    const std::size_t bytes = (have * static_cast<std::size_t>(bits) + 7) / 8;
    std::memcpy(tail, from, bytes);
    std::memset(tail + bytes, 0, kOverrun);
    from = tail;
  }
  if constexpr (sizeof(T) == 8) {
    unpack64(from, have, bits, pads);
  } else {
    unpack8(from, have, bits, pads);
  }
}

// The pads of a sender's group: `at(at)[i * 2^K + j]` is pad j of element at + i, in the order of the
// receiver's *u*.
template <int K, class T>
class OptionPads {
 public:
  MOIETY_INLINE OptionPads(const Lookup& job, const Sender& side)
      : job_(job), w_(side.w), multiples_(job.prepared() ? kNone : side.delta, K) {}

  MOIETY_INLINE const T* at(std::size_t at) {
    const u8* from = w_ + job_.pads_before(at, 1 << K);
    const std::size_t rest = job_.n - at;
    if (job_.prepared()) {
      read_pads(from, rest << K, kGroup << K, job_.bits, pads_);
    } else {
      next_key<K>(job_, at, key_);
      sender_pads<K>(key_, whole(from, 16 * rest, 16 * kGroup, tail_), multiples_, pads_);
    }
    return pads_;
  }

 private:
  static constexpr u8 kNone[16] = {};
  const Lookup job_;
  const u8* w_;
  Schedule key_;
  const Multiples multiples_;
  alignas(64) T pads_[kGroup << K];
  alignas(64) u8 tail_[16 * kGroup];
};

// Of a receiver's: a pad an element.
template <int K, class T>
class ChoicePads {
 public:
  MOIETY_INLINE ChoicePads(const Lookup& job, const Receiver& side) : job_(job), v_(side.v) {}

  MOIETY_INLINE const T* at(std::size_t at) {
    const u8* from = v_ + job_.pads_before(at, 1);
    const std::size_t rest = job_.n - at;
    if (job_.prepared()) {
      read_pads(from, rest, kGroup, job_.bits, pads_);
    } else {
      next_key<K>(job_, at, key_);
      receiver_pads(key_, whole(from, 16 * rest, 16 * kGroup, tail_), pads_);
    }
    return pads_;
  }

 private:
  const Lookup job_;
  const u8* v_;
  Schedule key_;
  alignas(64) T pads_[kGroup];
  alignas(64) u8 tail_[16 * kGroup];
};

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

// The chosen message, less the pad, of every element: a group's go to `room(at)`, then
// `done(at, have)` is called. All fields are read and masked.
template <int K, class Group, class Room, class Done>
MOIETY_NOINLINE void receive_words(Lookup job, Receiver side, Room room, Done done) {
  const int bits = job.bits;
  const u64 mask = low_mask(bits);
  const u8* choices = side.choices;
  receive<K, u64>(
      job, side, [&](std::size_t at, std::size_t have, const u64* pads, const u8* from) {
        u64* opened = room(at);
        std::size_t position = 0;
        for (std::size_t i = 0; i < have; i++) {
          const u64 choice = choices[at + i];
          u64 chosen = 0;
          MOIETY_UNROLL
          for (u64 j = 1; j < 1 << K; j++) {
            const u64 equal = -(((choice ^ j) - 1) >> 63);  // all ones where choice == j
            chosen |= read_bits(from, position, bits) & equal;
            position += bits;
          }
          opened[i] = Group::subtract(chosen, pads[i]) & mask;
        }
        done(at, have);
      });
}

// --- 1-of-2 transfers of words
// --------------------------------------------------------------------

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
                    get_group(from, fields, have, job.bits);
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
    run(at.start, job.part(at), side.from(job, at.start), messages.data() + job.bytes_before(at.start),
        share.data() + at.start);
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
