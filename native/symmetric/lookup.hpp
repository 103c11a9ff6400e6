// Lookups in tables that the sender gives: XOR shares of up to 8 bits, additive shares of up to 64.
// reference/symmetric.py specifies them.
#pragma once

#include "symmetric/rows.hpp"
#include "symmetric/transfer.hpp"

namespace moiety {

// Shapes as in the specification, arguments checked. Outputs are written past their end: see kSlack
// in arguments.hpp.
struct LookupKernels {
  void (*lookup_send)(const Lookup& job, const Sender& side, const u8* table, u8* messages,
                      u8* share);
  void (*lookup_recv)(const Lookup& job, const Receiver& side, u8* share);
  void (*arith_send)(const Lookup& job, const Sender& side, const u64* table, u8* messages,
                     u64* share);
  void (*arith_recv)(const Lookup& job, const Receiver& side, u64* share);
  void (*pads_send)(const Lookup& job, const u8* w, const u8* delta, u8* pads);
  void (*pads_recv)(const Lookup& job, const u8* v, u8* pads);
};

#if defined(MOIETY_LOOPS)
namespace {

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
  u64 low = static_cast<u64>(_mm_cvtsi128_si64(fields)),
      high = static_cast<u64>(_mm_extract_epi64(fields, 1));
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

// `source` is the table (n, 2^K) for kGiven, else the digits (n,).
template <int K, Table Kind>
void send_bytes(Lookup job, Sender side, const u8* source, u8* messages, u8* share) {
  constexpr int kOptions = 1 << K, kElements = 16 >> K;
  constexpr std::size_t kRow = Kind == Table::kGiven ? kOptions : 1;
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

  alignas(64) u8 shift_tail[kGroup], source_tail[kGroup * kRow];
  const auto elements_at = [&element](const u8* p) __attribute__((always_inline)) {
    if constexpr (K == 4) return _mm_set1_epi8(static_cast<char>(*p));
    u64 bytes = 0;
    std::memcpy(&bytes, p, kElements);
    return _mm_shuffle_epi8(_mm_cvtsi64_si128(static_cast<long long>(bytes)), element);
  };
  const auto ask = [](std::size_t) {};
  send<K, u8>(
      job, side, messages, ask,
      [&](std::size_t at, std::size_t have, const u8* pads, BitWriter& to) {
        const u8* shift = whole(side.shifts + at, have, kGroup, shift_tail);
        const u8* given = whole(source + at * kRow, have * kRow, kGroup * kRow, source_tail);
        for (std::size_t i = 0; i < have; i += kElements) {
          const __m128i order =
              _mm_xor_si128(iota, _mm_and_si128(elements_at(shift + i), low_options));
          const __m128i pad = _mm_shuffle_epi8(
              _mm_load_si128(reinterpret_cast<const __m128i*>(pads + i * kOptions)), order);
          __m128i table;
          if constexpr (Kind == Table::kGiven) {
            table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(given + i * kOptions));
          } else {
            const __m128i digit = elements_at(given + i);
            table = _mm_and_si128(_mm_cmpgt_epi8(option, digit), _mm_set1_epi8(1));
            if constexpr (Kind == Table::kLessEqual) {
              table = _mm_or_si128(table,
                                   _mm_and_si128(_mm_cmpeq_epi8(option, digit), _mm_set1_epi8(2)));
            }
          }
          const __m128i fields = _mm_and_si128(_mm_xor_si128(pad, table), mask);
          const __m128i shares = _mm_shuffle_epi8(fields, firsts);
          std::memcpy(share + at + i, &shares, kElements);
          put_fields<K>(to, _mm_xor_si128(fields, _mm_shuffle_epi8(fields, first)), job.bits);
        }
      });
}

// By rows where they are short, and long enough to be worth it.
template <int K, Table Kind>
void send_lookup(Lookup job, Sender side, const u8* source, u8* messages, u8* share) {
  if constexpr (K >= 3) {
    if (job.prepared() && job.bits << K <= 56)
      return send_rows<K, Kind>(job, side, source, messages, share);
  }
  send_bytes<K, Kind>(job, side, source, messages, share);
}

template <Table Kind>
void send_bytes(Lookup job, Sender side, const u8* source, u8* messages, u8* share) {
  with_width(job.k, [&]<int K>() { send_lookup<K, Kind>(job, side, source, messages, share); });
}

void lookup_send(const Lookup& job, const Sender& side, const u8* table, u8* messages, u8* share) {
  send_bytes<Table::kGiven>(job, side, table, messages, share);
}

// A choice shifts its field down: the time of a register's shift does not depend on by how much.
template <int K>
void receive_bytes(Lookup job, Receiver side, u8* share) {
  const int bits = job.bits, step = ((1 << K) - 1) * bits;
  const bool split = K == 4 && step > 56;
  const u64 mask = low_mask(bits);
  alignas(64) u8 choice_tail[kGroup];
  alignas(64) u64 low[kGroup], high[kGroup];
  receive<K, u8>(job, side, [&](std::size_t at, std::size_t have, const u8* pads, const u8* from) {
    const u8* choice = whole(side.choices + at, have, kGroup, choice_tail);
    // Field 0 is not on the wire; shifting by one field puts its zero in front.
    if (split) {
      for (std::size_t i = 0; i < have; i++) {
        low[i] = read_bits(from, i * step, 7 * bits) << bits;
        high[i] = read_bits(from, i * step + 7 * bits, 8 * bits);
      }
      for (std::size_t i = 0; i < kGroup; i++) {
        low[i] ^= (low[i] ^ high[i]) & -static_cast<u64>(choice[i] >> 3 & 1);
        low[i] = low[i] >> (choice[i] & 7) * bits;
      }
    } else {
      unpack64(from, have, step, low);
      for (std::size_t i = 0; i < kGroup; i++)
        low[i] = low[i] << bits >> (choice[i] & ((1 << K) - 1)) * bits;
    }
    for (std::size_t i = 0; i < have; i++) {
      share[at + i] = static_cast<u8>((low[i] ^ pads[i]) & mask);
    }
  });
}

void lookup_recv(const Lookup& job, const Receiver& side, u8* share) {
  with_width(job.k, [&]<int K>() { receive_bytes<K>(job, side, share); });
}

template <int K>
void send_words(Lookup job, Sender side, const u64* table, u8* messages, u64* share) {
  constexpr std::size_t kOptions = 1 << K;
  const auto ask = [=](std::size_t at) { prefetch(table + at * kOptions, 8 * kGroup * kOptions); };
  send<K, u64>(job, side, messages, ask,
               [&](std::size_t at, std::size_t have, const u64* pads, BitWriter& to) {
                 for (std::size_t i = 0; i < have; i++) {
                   const u64* row = table + (at + i) * kOptions;
                   share[at + i] =
                       put_row<K, Additive>(to, pads + i * kOptions, side.shifts[at + i], job.bits,
                                            [row](unsigned j) { return row[j]; });
                 }
               });
}

void arith_send(const Lookup& job, const Sender& side, const u64* table, u8* messages, u64* share) {
  with_width(job.k, [&]<int K>() { send_words<K>(job, side, table, messages, share); });
}

void arith_recv(const Lookup& job, const Receiver& side, u64* share) {
  if (job.k == 1) {
    return receive_pairs(job, side, [share](std::size_t i, u64 opened) { share[i] = opened; });
  }
  const auto room = [share](std::size_t at) { return share + at; };
  const auto done = [](std::size_t, std::size_t) {};
  with_width(job.k, [&]<int K>() { receive_words<K, Additive>(job, side, room, done); });
}

// `pads`, a group's after the other's, `each` to an element, as a stream of fields.
template <class T, class Pads>
MOIETY_INLINE void write_pads(const Lookup& job, std::size_t each, Pads&& pads, u8* out) {
  // Eight bytes are written past the end of a group: the last one's go elsewhere.
  alignas(64) u8 last[16 * kGroup * sizeof(T) + kOverrun];
  for (std::size_t at = 0; at < job.n; at += kGroup) {
    const bool ends = at + kGroup >= job.n;
    const std::size_t fields = least(kGroup, job.n - at) * each;
    u8* group = out + at / 8 * each * static_cast<std::size_t>(job.bits);
    u8* to = ends ? last : group;
    if constexpr (sizeof(T) == 8) {
      pack64(pads.at(at), fields, job.bits, to);
    } else {
      pack8(pads.at(at), fields, job.bits, to);
    }
    if (ends) std::memcpy(group, last, (fields * static_cast<std::size_t>(job.bits) + 7) / 8);
  }
}

void pads_send(const Lookup& job, const u8* w, const u8* delta, u8* pads) {
  const Sender side{w, delta, nullptr};
  with_width(job.k, [&]<int K>() {
    if (job.bits <= 8) {
      write_pads<u8>(job, 1 << K, OptionPads<K, u8>(job, side), pads);
    } else {
      write_pads<u64>(job, 1 << K, OptionPads<K, u64>(job, side), pads);
    }
  });
}

void pads_recv(const Lookup& job, const u8* v, u8* pads) {
  const Receiver side{v, nullptr, nullptr};
  with_width(job.k, [&]<int K>() {
    if (job.bits <= 8) {
      write_pads<u8>(job, 1, ChoicePads<K, u8>(job, side), pads);
    } else {
      write_pads<u64>(job, 1, ChoicePads<K, u64>(job, side), pads);
    }
  });
}

constexpr LookupKernels kLookup{.lookup_send = lookup_send,
                                .lookup_recv = lookup_recv,
                                .arith_send = arith_send,
                                .arith_recv = arith_recv,
                                .pads_send = pads_send,
                                .pads_recv = pads_recv};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const LookupKernels& lookup_kernels();  // of the instruction set in use

namespace {

nb::tuple lookup_send(const Array& w, const Array& delta, u64 k, const Array& key,
                      const Array& shifts, const Array& table, u64 bits, Pool* pool) {
  const Lookup job = checked_lookup(k, bits, 8, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u8* rows = checked<u8>("table", table, {job.n, std::size_t{1} << k});
  const LookupKernels& kernels = lookup_kernels();
  return sent<u8>(pool, job, side, {job.n},
                  [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                      u8* share) noexcept {
                    kernels.lookup_send(part, from, rows + (first << part.k), messages, share);
                  });
}

Out<u8> lookup_recv(const Array& v, u64 k, const Array& key, const Array& choices, const Array& u,
                    u64 bits, const Array& messages, Pool* pool) {
  const Lookup job = checked_lookup(k, bits, 8, key, v, choices);
  const Receiver side = checked_receiver(job, v, choices, u, messages);
  const LookupKernels& kernels = lookup_kernels();
  return received<u8>(pool, job, side, {job.n},
                      [&](std::size_t, const Lookup& part, const Receiver& from,
                          u8* share) noexcept { kernels.lookup_recv(part, from, share); });
}

nb::tuple arith_send(const Array& w, const Array& delta, u64 k, const Array& key,
                     const Array& shifts, const Array& table, u64 bits, Pool* pool) {
  const Lookup job = checked_lookup(k, bits, 64, key, w, shifts);
  const Sender side = checked_sender(job, w, delta, shifts);
  const u64* rows = checked<u64>("table", table, {job.n, std::size_t{1} << k});
  const LookupKernels& kernels = lookup_kernels();
  return sent<u64>(pool, job, side, {job.n},
                   [&](std::size_t first, const Lookup& part, const Sender& from, u8* messages,
                       u64* share) noexcept {
                     kernels.arith_send(part, from, rows + (first << part.k), messages, share);
                   });
}

Out<u64> arith_recv(const Array& v, u64 k, const Array& key, const Array& choices, const Array& u,
                    u64 bits, const Array& messages, Pool* pool) {
  const Lookup job = checked_lookup(k, bits, 64, key, v, choices);
  const Receiver side = checked_receiver(job, v, choices, u, messages);
  const LookupKernels& kernels = lookup_kernels();
  return received<u64>(pool, job, side, {job.n},
                       [&](std::size_t, const Lookup& part, const Receiver& from,
                           u64* share) noexcept { kernels.arith_recv(part, from, share); });
}

// Checks what pads are made of.
Lookup checked_pads_job(u64 k, u64 bits, const Array& key, const Array& blocks) {
  checked<u8>("blocks", blocks, {kAny, 16});
  return checked_lookup(k, bits, 64, key, blocks, blocks);
}

Out<u8> pads_send(const Array& w, const Array& delta, u64 k, const Array& key, u64 bits,
                  Pool* pool) {
  const Lookup job = checked_pads_job(k, bits, key, w);
  const auto* blocks = static_cast<const u8*>(w.data());
  const u8* difference = checked<u8>("delta", delta, {16});
  const Output<u8> pads({job.pad_bytes(1 << job.k)});
  const LookupKernels& kernels = lookup_kernels();
  without_gil(pool, sender_work(job), [&](Range at) noexcept {
    kernels.pads_send(job.part(at), blocks + 16 * at.start, difference,
                      pads.data() + at.start / 8 * (bits << job.k));
  });
  return pads.array();
}

Out<u8> pads_recv(const Array& v, u64 k, const Array& key, u64 bits, Pool* pool) {
  const Lookup job = checked_pads_job(k, bits, key, v);
  const auto* blocks = static_cast<const u8*>(v.data());
  const Output<u8> pads({job.pad_bytes(1)});
  const LookupKernels& kernels = lookup_kernels();
  without_gil(pool, receiver_work(job), [&](Range at) noexcept {
    kernels.pads_recv(job.part(at), blocks + 16 * at.start, pads.data() + at.start / 8 * bits);
  });
  return pads.array();
}

void bind_lookup(nb::module_& m) {
  m.def("lookup_send", &lookup_send, "w"_a, "delta"_a, "k"_a, "key"_a, "shifts"_a, "table"_a,
        "bits"_a, pool_argument());
  m.def("lookup_recv", &lookup_recv, "v"_a, "k"_a, "key"_a, "choices"_a, "u"_a, "bits"_a,
        "messages"_a, pool_argument());
  m.def("arith_send", &arith_send, "w"_a, "delta"_a, "k"_a, "key"_a, "shifts"_a, "table"_a,
        "bits"_a, pool_argument());
  m.def("arith_recv", &arith_recv, "v"_a, "k"_a, "key"_a, "choices"_a, "u"_a, "bits"_a,
        "messages"_a, pool_argument());
  m.def("pads_send", &pads_send, "w"_a, "delta"_a, "k"_a, "key"_a, "bits"_a, pool_argument());
  m.def("pads_recv", &pads_recv, "v"_a, "k"_a, "key"_a, "bits"_a, pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
