// The two sides' arguments of a lookup, and its pads: hashed where they are used, or made
// beforehand and read from a stream. `sender_pads` and `receiver_pads` of reference/transfers.py
// specify them.
#pragma once

#if defined(MOIETY_LOOPS)
#include "bitstream.hpp"
#include "field.hpp"
#include "symmetric/streams.hpp"
#include "vector/aes.hpp"
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

// The pads of a sender's group: `at(at)[i * 2^K + j]` is pad j of element at + i, in the order of
// the receiver's *u*.
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

}  // namespace
#endif

}  // namespace moiety
