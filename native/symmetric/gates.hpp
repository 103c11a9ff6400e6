// Lookups whose tables follow from a few secrets of the sender: comparisons of digits, functions of
// shared bits, multiplexers. reference/gates.py specifies them.
#pragma once

#include "symmetric/functions.hpp"
#include "symmetric/leaves.hpp"
#include "symmetric/lookup.hpp"

namespace moiety {

// Values that a multiplexer's sender adds to its share: the peer's product `theirs`, less `flip`.
struct Added {
  const u64* theirs;
  const u8* flip;
};

// Rings of an extension.
struct Widths {
  int bits, out_bits;
};

// Shapes as in the specification, arguments checked; `job.bits` is the width of a field. Outputs
// are written past their end: see kSlack in arguments.hpp.
struct GateKernels {
  void (*leaves_send)(const Lookup& job, const Leaves& leaves, const Sender& side, const u8* digits,
                      u8* messages, u8* share);
  void (*leaves_recv)(const Lookup& job, const Leaves& leaves, const Receiver& side, u8* share);
  void (*join_send)(const Lookup& job, const Sender& side, const u8* own, const u8* function,
                    u8* messages, u8* share);
  void (*mux_send)(const Lookup& job, const Sender& side, const u64* x, const u8* gate,
                   u8* messages, u64* share);
  void (*mux_send_adding)(const Lookup& job, const Sender& side, const u64* x, const u8* gate,
                          const Added& added, u8* messages, u64* sum, u8* sign);
  void (*widen_send)(const Lookup& job, const Sender& side, Widths widths, const u64* own,
                     const u64* theirs, u8* messages, u64* share);
  void (*widen_recv)(const Lookup& job, const Receiver& side, Widths widths, const u64* x,
                     const u8* flip, u64* share);
};

#if defined(MOIETY_LOOPS)
namespace {

// --- comparisons ---------------------------------------------------------------------------------

void leaves_send(const Lookup& job, const Leaves& leaves, const Sender& side, const u8* digits,
                 u8* messages, u8* share) {
  const bool with_eq = leaves.with_eq;
  const auto compared = [with_eq](unsigned digit, unsigned j) {
    return u64{digit < j} | u64{with_eq && digit == j} << 1;
  };
  if (leaves.count == 1 && send_function(job, side, digits, messages, share, compared)) return;
  // A single digit's answers fit the byte-wise lookup, which is several times faster.
  if (leaves.count == 1 && with_eq) {
    return send_bytes<Table::kLessEqual>(job, side, digits, messages, share);
  }
  if (leaves.count == 1) return send_bytes<Table::kLess>(job, side, digits, messages, share);
  with_width(job.k, [&]<int K>() { send_leaves<K>(job, leaves, side, digits, messages, share); });
}

void leaves_recv(const Lookup& job, const Leaves& leaves, const Receiver& side, u8* share) {
  if (leaves.count == 1) return lookup_recv(job, side, share);
  receive_leaves(job, leaves, side, share);
}

// --- tables that are written out -----------------------------------------------------------------

constexpr std::size_t kTables = 512;  // elements at once: their tables stay in the first cache
static_assert(kTables % per_key(1) == 0, "a part begins with a key");

// A lookup whose tables are made for kTables elements at once: `fill(i, row)` writes the table of
// element i, and `transfer(part, side, table, messages, share)` is the lookup. By value: bytes may
// alias a reference, and its members would be read again after every store.
template <int K, class T, class Fill, class Transfer>
MOIETY_INLINE void send_tables(Lookup job, Sender side, u8* messages, T* share, Fill fill,
                               Transfer transfer) {
  // Rows of bytes are written as whole registers: the next row overwrites what is too much.
  alignas(64) T table[(kTables << K) + 16 / sizeof(T)];
  for (std::size_t at = 0; at < job.n; at += kTables) {
    const Lookup part = job.part({at, least(at + kTables, job.n), 0});
    for (std::size_t i = 0; i < part.n; i++) fill(at + i, table + (i << K));
    transfer(part, side.from(job, at), table, messages + job.bytes_before(at), share + at);
  }
}

// Table j -> function[own ^ j]; the function is permuted in a register, so the secret indexes no
// memory.
void join_send(const Lookup& job, const Sender& side, const u8* own, const u8* function,
               u8* messages, u8* share) {
  const auto joined = [function](unsigned x, unsigned j) { return u64{function[x ^ j]}; };
  if (send_function(job, side, own, messages, share, joined)) return;
  alignas(16) u8 padded[16] = {};
  std::memcpy(padded, function, std::size_t{1} << job.k);
  const __m128i whole_function = _mm_load_si128(reinterpret_cast<const __m128i*>(padded));
  const __m128i iota = _mm_set_epi64x(0x0f0e0d0c0b0a0908ll, 0x0706050403020100ll);
  const auto fill = [=](std::size_t i, u8* row) {
    const __m128i order = _mm_xor_si128(iota, _mm_set1_epi8(static_cast<char>(own[i])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row), _mm_shuffle_epi8(whole_function, order));
  };
  with_width(job.k, [&]<int K>() {
    send_tables<K>(job, side, messages, share, fill, send_lookup<K, Table::kGiven>);
  });
}

// --- multiplexers --------------------------------------------------------------------------------

// Entry j of a product with a shared bit.
MOIETY_INLINE u64 gated(u64 x, u8 gate, u64 j) { return x & -(gate ^ j); }

void mux_send(const Lookup& job, const Sender& side, const u64* x, const u8* gate, u8* messages,
              u64* share) {
  const auto entry = [=](std::size_t i, u64 j) { return gated(x[i], gate[i], j); };
  const auto keep = [=](std::size_t i, u64 own) { share[i] = own; };
  send_pairs(job, side, messages, entry, keep);
}

void mux_send_adding(const Lookup& job, const Sender& side, const u64* x, const u8* gate,
                     const Added& added, u8* messages, u64* sum, u8* sign) {
  const int bits = job.bits;
  const u64 mask = low_mask(bits);
  const auto entry = [=](std::size_t i, u64 j) { return gated(x[i], gate[i], j); };
  const u64* theirs = added.theirs;
  const u8* flip = added.flip;
  const auto keep = [=](std::size_t i, u64 own) { sum[i] = (own + theirs[i] - flip[i]) & mask; };
  send_pairs(job, side, messages, entry, keep);
  // Apart from the loop above, which stores of bytes would keep from being vectorised.
  for (std::size_t i = 0; i < job.n; i++) sign[i] = static_cast<u8>(sum[i] >> (bits - 1)) ^ flip[i];
}

// The signed value of an element of `bits` bits.
MOIETY_INLINE u64 lifted(u64 x, int bits) {
  return static_cast<u64>(static_cast<i64>(x << (64 - bits)) >> (64 - bits));
}

void widen_send(const Lookup& job, const Sender& side, Widths widths, const u64* own,
                const u64* theirs, u8* messages, u64* share) {
  const u64 mask = low_mask(widths.out_bits);
  const auto entry = [=](std::size_t i, u64 j) {
    return (own[i] + theirs[i]) >> (widths.bits - 1) & j;
  };
  const auto keep = [=](std::size_t i, u64 carry) {
    share[i] = (lifted(own[i] + theirs[i], widths.bits) + (carry << widths.bits)) & mask;
  };
  send_pairs(job, side, messages, entry, keep);
}

void widen_recv(const Lookup& job, const Receiver& side, Widths widths, const u64* x,
                const u8* flip, u64* share) {
  const u64 mask = low_mask(widths.out_bits);
  const u8* choices = side.choices;
  receive_pairs(job, side, [=](std::size_t i, u64 opened) {
    const u64 carry = opened - (flip[i] & choices[i]);
    share[i] = (lifted(x[i], widths.bits) + (carry << widths.bits) + flip[i]) & mask;
  });
}

constexpr GateKernels kGates{.leaves_send = leaves_send,
                             .leaves_recv = leaves_recv,
                             .join_send = join_send,
                             .mux_send = mux_send,
                             .mux_send_adding = mux_send_adding,
                             .widen_send = widen_send,
                             .widen_recv = widen_recv};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const GateKernels& gate_kernels();  // of the instruction set in use

namespace {

nb::tuple leaves_send(const Array& w, const Array& delta, u64 k, const Array& key,
                      const Array& shifts, const Array& digits, bool with_eq, Pool* pool) {
  const std::size_t count = digits.ndim() == 2 ? digits.shape(0) : 0;
  check_range("the number of rows of digits", count, 1, 32);
  const Lookup job = checked_lookup(k, count * (1 + with_eq), 64, key, w, shifts);
  const Leaves leaves{static_cast<int>(count), with_eq, job.n};
  const Sender side = checked_sender(job, w, delta, shifts);
  const u8* rows = checked<u8>("digits", digits, {count, job.n});
  const GateKernels& kernels = gate_kernels();
  return sent<u8>(pool, job, side, {count, job.n},
                  [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                      u8* share) noexcept {
                    kernels.leaves_send(part, leaves, from, rows + first, messages, share);
                  });
}

Out<u8> leaves_recv(const Array& v, u64 k, const Array& key, const Array& choices, const Array& u,
                    u64 count, bool with_eq, const Array& messages, Pool* pool) {
  check_range("count", count, 1, 32);
  const Lookup job = checked_lookup(k, count * (1 + with_eq), 64, key, v, choices);
  const Leaves leaves{static_cast<int>(count), with_eq, job.n};
  const Receiver side = checked_receiver(job, v, choices, u, messages);
  const GateKernels& kernels = gate_kernels();
  return received<u8>(pool, job, side, {count, job.n},
                      [&](std::size_t, const Lookup& part, const Receiver& from,
                          u8* share) noexcept { kernels.leaves_recv(part, leaves, from, share); });
}

nb::tuple join_send(const Array& w, const Array& delta, u64 k, const Array& key,
                    const Array& shifts, const Array& own, const Array& function, u64 bits,
                    Pool* pool) {
  const Lookup job = checked_lookup(k, bits, 8, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u8* mine = checked<u8>("own", own, {job.n});
  const u8* table = checked<u8>("function", function, {std::size_t{1} << k});
  const GateKernels& kernels = gate_kernels();
  return sent<u8>(pool, job, side, {job.n},
                  [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                      u8* share) noexcept {
                    kernels.join_send(part, from, mine + first, table, messages, share);
                  });
}

nb::tuple mux_send(const Array& w, const Array& delta, const Array& key, const Array& shifts,
                   const Array& x, const Array& gate, u64 bits, Pool* pool) {
  const Lookup job = checked_lookup(1, bits, 64, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u64* values = checked<u64>("x", x, {job.n});
  const u8* gates = checked<u8>("gate", gate, {job.n});
  const GateKernels& kernels = gate_kernels();
  return sent<u64>(pool, job, side, {job.n},
                   [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                       u64* share) noexcept {
                     kernels.mux_send(part, from, values + first, gates + first, messages, share);
                   });
}

nb::tuple mux_send_adding(const Array& w, const Array& delta, const Array& key, const Array& shifts,
                          const Array& x, const Array& gate, const Array& theirs, const Array& flip,
                          u64 bits, Pool* pool) {
  const Lookup job = checked_lookup(1, bits, 64, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u64* values = checked<u64>("x", x, {job.n});
  const u8* gates = checked<u8>("gate", gate, {job.n});
  const Added added{.theirs = checked<u64>("theirs", theirs, {job.n}),
                    .flip = checked<u8>("flip", flip, {job.n})};
  const GateKernels& kernels = gate_kernels();
  const Output<u8> sign({job.n});
  const nb::tuple both =
      sent<u64>(pool, job, side, {job.n},
                [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                    u64* sum) noexcept {
                  const Added there{added.theirs + first, added.flip + first};
                  kernels.mux_send_adding(part, from, values + first, gates + first, there,
                                          messages, sum, sign.data() + first);
                });
  return nb::make_tuple(both[0], both[1], sign.array());
}

Widths checked_widths(u64 bits, u64 out_bits) {
  check_range("bits", bits, 1, 63);
  check_range("out_bits", out_bits, bits + 1, 64);
  return {static_cast<int>(bits), static_cast<int>(out_bits)};
}

nb::tuple widen_send(const Array& w, const Array& delta, const Array& key, const Array& shifts,
                     const Array& own, const Array& theirs, u64 bits, u64 out_bits, Pool* pool) {
  const Widths widths = checked_widths(bits, out_bits);
  const Lookup job = checked_lookup(1, out_bits - bits, 64, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u64* mine = checked<u64>("own", own, {job.n});
  const u64* other = checked<u64>("theirs", theirs, {job.n});
  const GateKernels& kernels = gate_kernels();
  return sent<u64>(pool, job, side, {job.n},
                   [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                       u64* share) noexcept {
                     kernels.widen_send(part, from, widths, mine + first, other + first, messages,
                                        share);
                   });
}

Out<u64> widen_recv(const Array& v, const Array& key, const Array& choices, const Array& u,
                    const Array& x, const Array& flip, u64 bits, u64 out_bits,
                    const Array& messages, Pool* pool) {
  const Widths widths = checked_widths(bits, out_bits);
  const Lookup job = checked_lookup(1, out_bits - bits, 64, key, v, choices);
  const Receiver side = checked_receiver(job, v, choices, u, messages);
  const u64* values = checked<u64>("x", x, {job.n});
  const u8* flips = checked<u8>("flip", flip, {job.n});
  const GateKernels& kernels = gate_kernels();
  return received<u64>(
      pool, job, side, {job.n},
      [&](std::size_t first, const Lookup& part, const Receiver& from, u64* share) noexcept {
        kernels.widen_recv(part, from, widths, values + first, flips + first, share);
      });
}

void bind_gates(nb::module_& m) {
  m.def("leaves_send", &leaves_send, "w"_a, "delta"_a, "k"_a, "key"_a, "shifts"_a, "digits"_a,
        "with_eq"_a, pool_argument());
  m.def("leaves_recv", &leaves_recv, "v"_a, "k"_a, "key"_a, "choices"_a, "u"_a, "count"_a,
        "with_eq"_a, "messages"_a, pool_argument());
  m.def("join_send", &join_send, "w"_a, "delta"_a, "k"_a, "key"_a, "shifts"_a, "own"_a,
        "function"_a, "bits"_a, pool_argument());
  m.def("mux_send", &mux_send, "w"_a, "delta"_a, "key"_a, "shifts"_a, "x"_a, "gate"_a, "bits"_a,
        pool_argument());
  m.def("mux_send_adding", &mux_send_adding, "w"_a, "delta"_a, "key"_a, "shifts"_a, "x"_a, "gate"_a,
        "theirs"_a, "flip"_a, "bits"_a, pool_argument());
  m.def("widen_send", &widen_send, "w"_a, "delta"_a, "key"_a, "shifts"_a, "own"_a, "theirs"_a,
        "bits"_a, "out_bits"_a, pool_argument());
  m.def("widen_recv", &widen_recv, "v"_a, "key"_a, "choices"_a, "u"_a, "x"_a, "flip"_a, "bits"_a,
        "out_bits"_a, "messages"_a, pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
