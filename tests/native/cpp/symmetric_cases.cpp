// Calls of the symmetric kernels. What is public: keys of hashes, shifts, messages, corrections,
// counters and sizes; all else is secret.
#include <algorithm>

#include "bitstream.hpp"
#include "call.hpp"
#include "processor.hpp"
#include "symmetric/family.hpp"

namespace moiety::harness {
namespace {

using Kernels = SymmetricKernels;

Lookup lookup(Call& call, const Shape& s, int bits) {
  return {s.k, bits, call.open<u8>("key", 16), s.n};
}

// Bytes that are blocks in one call, and prepared pads in the next.
std::size_t pads_or_blocks(const Lookup& job, int each) {
  return std::max(16 * job.n, job.pad_bytes(each));
}

// A call with pads that are hashed, then with prepared ones.
template <class Run>
void either(const Lookup& job, Run run) {
  run(job);
  run(Lookup{job.k, job.bits, nullptr, job.n});
}

Sender sender(Call& call, const Lookup& job) {
  return {call.secret<u8>("w", pads_or_blocks(job, 1 << job.k)), call.secret<u8>("delta", 16),
          call.open<u8>("shifts", job.n, u64{1} << job.k)};
}

Receiver receiver(Call& call, const Lookup& job) {
  return {call.secret<u8>("v", pads_or_blocks(job, 1)),
          call.secret<u8>("choices", job.n, u64{1} << job.k),
          call.open<u8>("messages", job.message_bytes())};
}

u64 ring(int bits) { return bits == 64 ? 0 : u64{1} << bits; }

void prg(std::vector<Case>& cases, const Kernels& kernels) {
  const PrgKernels& t = kernels.prg;
  cases.push_back({"aes_ctr", kernels.name, [&t](Call& call, const Shape& s) {
                     const u8* key = call.secret<u8>("key", 16);
                     u8* out = call.room<u8>(16 * s.n);
                     call.run = [=, &t] { t.aes_ctr(key, 5, 7, 16 * s.n, out); };
                   }});
  cases.push_back({"ggm_expand", kernels.name, [&t](Call& call, const Shape& s) {
                     const u8 *seeds = call.secret<u8>("seeds", 16 * s.n),
                              *keys = call.open<u8>("keys", 32);
                     u8* out = call.room<u8>(32 * s.n);
                     call.run = [=, &t] { t.ggm_expand(seeds, keys, s.n, out); };
                   }});
}

void vole(std::vector<Case>& cases, const Kernels& kernels) {
  const VoleKernels& t = kernels.vole;
  constexpr std::size_t kKeys = 32 * 16 * 16, kRows = 128 * 16;
  cases.push_back(
      {"vole_receiver", kernels.name, [&t](Call& call, const Shape& s) {
         const std::size_t blocks = 1 + s.n / 128;
         const u8* keys = call.secret<u8>("keys", kKeys);
         u8 *u = call.room<u8>(128 * blocks), *v = call.room<u8>(kRows * blocks, 4 * kRows);
         u8* corrections = call.room<u8>(31 * 16 * s.k * blocks);
         call.run = [=, &t] { t.vole_receiver(keys, 5, s.k, blocks, u, v, corrections); };
       }});
  cases.push_back(
      {"vole_sender", kernels.name, [&t](Call& call, const Shape& s) {
         const std::size_t blocks = 1 + s.n / 128;
         const u8 *keys = call.secret<u8>("keys", kKeys), *delta = call.secret<u8>("delta", 16);
         const u8* corrections = call.open<u8>("corrections", 31 * 16 * s.k * blocks);
         u8* w = call.room<u8>(kRows * blocks, 4 * kRows);
         call.run = [=, &t] { t.vole_sender(keys, delta, 5, s.k, blocks, corrections, w); };
       }});
}

void lookups(std::vector<Case>& cases, const Kernels& kernels) {
  const LookupKernels& t = kernels.lookup;
  cases.push_back({"lookup_send", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, 1 + s.bits % 8);
                     const Sender side = sender(call, job);
                     const u8* table = call.secret<u8>("table", s.n << s.k);
                     u8 *messages = call.room<u8>(job.message_bytes()), *share = call.room<u8>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.lookup_send(each, side, table, messages, share);
                       });
                     };
                   }});
  cases.push_back({"lookup_recv", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, 1 + s.bits % 8);
                     const Receiver side = receiver(call, job);
                     u8* share = call.room<u8>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) { t.lookup_recv(each, side, share); });
                     };
                   }});
  cases.push_back({"arith_send", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, s.bits);
                     const Sender side = sender(call, job);
                     const u64* table = call.secret<u64>("table", s.n << s.k);
                     u8* messages = call.room<u8>(job.message_bytes());
                     u64* share = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.arith_send(each, side, table, messages, share);
                       });
                     };
                   }});
  cases.push_back({"arith_recv", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, s.bits);
                     const Receiver side = receiver(call, job);
                     u64* share = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) { t.arith_recv(each, side, share); });
                     };
                   }});
}

void pads(std::vector<Case>& cases, const Kernels& kernels) {
  const LookupKernels& t = kernels.lookup;
  cases.push_back({"pads_send", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, s.bits);
                     const u8 *w = call.secret<u8>("w", 16 * s.n),
                              *delta = call.secret<u8>("delta", 16);
                     u8* out = call.room<u8>(job.pad_bytes(1 << s.k));
                     call.run = [=, &t] { t.pads_send(job, w, delta, out); };
                   }});
  cases.push_back({"pads_recv", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, s.bits);
                     const u8* v = call.secret<u8>("v", 16 * s.n);
                     u8* out = call.room<u8>(job.pad_bytes(1));
                     call.run = [=, &t] { t.pads_recv(job, v, out); };
                   }});
}

void comparisons(std::vector<Case>& cases, const Kernels& kernels) {
  const GateKernels& t = kernels.gates;
  const auto leaves_of = [](const Shape& s) { return Leaves{1 + s.bits % 13, s.k % 2 == 0, s.n}; };
  const auto bits_of = [](const Leaves& leaves) { return leaves.count * (1 + leaves.with_eq); };
  cases.push_back({"leaves_send", kernels.name, [=, &t](Call& call, const Shape& s) {
                     const Leaves leaves = leaves_of(s);
                     const Lookup job = lookup(call, s, bits_of(leaves));
                     const Sender side = sender(call, job);
                     const u8* digits =
                         call.secret<u8>("digits", leaves.count * s.n, u64{1} << s.k);
                     u8* messages = call.room<u8>(job.message_bytes());
                     u8* share = call.room<u8>(leaves.count * s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.leaves_send(each, leaves, side, digits, messages, share);
                       });
                     };
                   }});
  cases.push_back(
      {"leaves_recv", kernels.name, [=, &t](Call& call, const Shape& s) {
         const Leaves leaves = leaves_of(s);
         const Lookup job = lookup(call, s, bits_of(leaves));
         const Receiver side = receiver(call, job);
         u8* share = call.room<u8>(leaves.count * s.n);
         call.run = [=, &t] {
           either(job, [&](const Lookup& each) { t.leaves_recv(each, leaves, side, share); });
         };
       }});
  cases.push_back({"join_send", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, s, 1 + s.bits % 8);
                     const Sender side = sender(call, job);
                     const u8* own = call.secret<u8>("own", s.n, u64{1} << s.k);
                     const u8* function = call.open<u8>("function", 1 << s.k);
                     u8 *messages = call.room<u8>(job.message_bytes()), *share = call.room<u8>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.join_send(each, side, own, function, messages, share);
                       });
                     };
                   }});
}

void multiplexers(std::vector<Case>& cases, const Kernels& kernels) {
  const GateKernels& t = kernels.gates;
  cases.push_back({"mux_send", kernels.name, [&t](Call& call, const Shape& s) {
                     const Lookup job = lookup(call, {s.n, 1, s.bits}, s.bits);
                     const Sender side = sender(call, job);
                     const u64* x = call.secret<u64>("x", s.n, ring(s.bits));
                     const u8* gate = call.secret<u8>("gate", s.n, 2);
                     u8* messages = call.room<u8>(job.message_bytes());
                     u64* share = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.mux_send(each, side, x, gate, messages, share);
                       });
                     };
                   }});
  cases.push_back(
      {"mux_send_adding", kernels.name, [&t](Call& call, const Shape& s) {
         const Lookup job = lookup(call, {s.n, 1, s.bits}, s.bits);
         const Sender side = sender(call, job);
         const u64 *x = call.secret<u64>("x", s.n, ring(s.bits)),
                   *theirs = call.secret<u64>("theirs", s.n, ring(s.bits));
         const u8 *gate = call.secret<u8>("gate", s.n, 2), *flip = call.secret<u8>("flip", s.n, 2);
         u8 *messages = call.room<u8>(job.message_bytes()), *sign = call.room<u8>(s.n);
         u64* sum = call.room<u64>(s.n);
         call.run = [=, &t] {
           either(job, [&](const Lookup& each) {
             t.mux_send_adding(each, side, x, gate, {theirs, flip}, messages, sum, sign);
           });
         };
       }});
  const auto widths_of = [](int bits) { return Widths{bits > 60 ? 60 : bits, 64}; };
  cases.push_back({"widen_send", kernels.name, [=, &t](Call& call, const Shape& s) {
                     const Widths widths = widths_of(s.bits);
                     const Lookup job =
                         lookup(call, {s.n, 1, s.bits}, widths.out_bits - widths.bits);
                     const Sender side = sender(call, job);
                     const u64 *own = call.secret<u64>("own", s.n, ring(widths.bits)),
                               *theirs = call.secret<u64>("theirs", s.n, ring(widths.bits));
                     u8* messages = call.room<u8>(job.message_bytes());
                     u64* share = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.widen_send(each, side, widths, own, theirs, messages, share);
                       });
                     };
                   }});
  cases.push_back({"widen_recv", kernels.name, [=, &t](Call& call, const Shape& s) {
                     const Widths widths = widths_of(s.bits);
                     const Lookup job =
                         lookup(call, {s.n, 1, s.bits}, widths.out_bits - widths.bits);
                     const Receiver side = receiver(call, job);
                     const u64* x = call.secret<u64>("x", s.n, ring(widths.bits));
                     const u8* flip = call.secret<u8>("flip", s.n, 2);
                     u64* share = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       either(job, [&](const Lookup& each) {
                         t.widen_recv(each, side, widths, x, flip, share);
                       });
                     };
                   }});
}

void passes(std::vector<Case>& cases, const Kernels& kernels) {
  const DigitKernels& t = kernels.digits;
  const StreamKernels& streams = kernels.streams;
  cases.push_back({"cut_digits", kernels.name, [&t](Call& call, const Shape& s) {
                     static constexpr int kSizes[] = {3, 1, 4};
                     const u64 *x = call.secret<u64>("x", s.n),
                               *added = call.secret<u64>("added", s.n);
                     u8* out = call.room<u8>(3 * s.n);
                     const Cut cut{s.bits % 7, s.k % 2 ? ~u64{0} : 0, 3, kSizes};
                     call.run = [=, &t] { t.cut_digits(cut, x, added, s.n, s.n, out); };
                   }});
  cases.push_back({"gather_bits", kernels.name, [&t](Call& call, const Shape& s) {
                     const u8* part = call.secret<u8>("parts", s.n, 4);
                     u8* choices = call.room<u8>(s.n);
                     call.run = [=, &t] { t.gather_bits(part, s.n, 2, s.k - 2, choices); };
                   }});
  cases.push_back({"pack", kernels.name, [&streams](Call& call, const Shape& s) {
                     const u64* words = call.secret<u64>("values", s.n);
                     const u8* bytes = call.secret<u8>("values", s.n);
                     u8 *out = call.room<u8>(8 * s.n), *small = call.room<u8>(s.n);
                     call.run = [=, &streams] {
                       pack64(words, s.n, s.bits, out);
                       streams.pack8(bytes, s.n, 1 + s.bits % 8, small);
                     };
                   }});
  cases.push_back({"unpack", kernels.name, [](Call& call, const Shape& s) {
                     const u8* data = call.secret<u8>("data", (s.n * s.bits + 7) / 8);
                     u64* out = call.room<u64>(s.n);
                     call.run = [=] {
                       groups(data, s.n, s.bits,
                              [&](const u8* from, std::size_t at, std::size_t count) {
                                unpack64(from, count, s.bits, out + at);
                              });
                     };
                   }});
  cases.push_back({"unpack8", kernels.name, [&streams](Call& call, const Shape& s) {
                     const int bits = 1 + s.bits % 8;
                     const u8* data = call.secret<u8>("data", (s.n * bits + 7) / 8);
                     u8* out = call.room<u8>(s.n);
                     call.run = [=, &streams] { streams.unpack8(data, s.n, bits, out); };
                   }});
}

void masked(std::vector<Case>& cases, const Kernels& kernels) {
  const MaskedKernels& t = kernels.masked;
  const auto bytes = [](const Shape& s) { return (s.n * s.bits + 7) / 8; };
  cases.push_back({"product_sent", kernels.name, [=, &t](Call& call, const Shape& s) {
                     const u8 *pads = call.secret<u8>("pads", (2 * s.n * s.bits + 7) / 8),
                              *y = call.secret<u8>("y", bytes(s));
                     u8 *message = call.room<u8>(bytes(s)), *share = call.room<u8>(bytes(s));
                     call.run = [=, &t] { t.product_sent(pads, y, s.n, s.bits, message, share); };
                   }});
  cases.push_back(
      {"product_received", kernels.name, [=, &t](Call& call, const Shape& s) {
         const u8 *pads = call.secret<u8>("pads", bytes(s)),
                  *message = call.open<u8>("message", bytes(s)), *u = call.secret<u8>("u", s.n, 2);
         u8* share = call.room<u8>(bytes(s));
         call.run = [=, &t] { t.product_received(pads, message, u, s.n, s.bits, share); };
       }});
  cases.push_back({"masked_send", kernels.name, [=, &t](Call& call, const Shape& s) {
                     const u64 *x = call.secret<u64>("x", s.n), *y = call.secret<u64>("y", s.n);
                     const u8 *bit = call.secret<u8>("bit", s.n, 2),
                              *share = call.secret<u8>("share", bytes(s)),
                              *e = call.open<u8>("e", s.n, 2);
                     const u64* mask = call.secret<u64>("mask", s.n);
                     u8* message = call.room<u8>(bytes(s));
                     call.run = [=, &t] {
                       t.masked_send({x, s.k, y, bit, share, e}, mask, s.n, s.bits, message);
                       t.masked_send({x, s.k, nullptr, bit, share, e}, mask, s.n, s.bits, message);
                     };
                   }});
  cases.push_back(
      {"masked_receive", kernels.name, [=, &t](Call& call, const Shape& s) {
         const u64* x = call.secret<u64>("x", s.n);
         const u8 *bit = call.secret<u8>("bit", s.n, 2),
                  *share = call.secret<u8>("share", bytes(s)), *e = call.open<u8>("e", s.n, 2),
                  *message = call.open<u8>("message", bytes(s));
         u64* sum = call.room<u64>(s.n);
         call.run = [=, &t] {
           t.masked_receive({x, s.k, nullptr, bit, share, e}, message, s.n, s.bits, sum);
         };
       }});
}

void columns(std::vector<Case>& cases, const Kernels& kernels) {
  const ColumnKernels& t = kernels.columns;
  cases.push_back({"column_hash", kernels.name, [&t](Call& call, const Shape& s) {
                     const u8 *rows = call.secret<u8>("rows", 16 * s.n),
                              *point = call.open<u8>("point", 16);
                     u8* hash = call.room<u8>(16 * 128);
                     call.run = [=, &t] { t.column_hash(rows, s.n, 16, point, hash); };
                   }});
  const PolynomialKernels& polynomials = kernels.polynomials;
  cases.push_back({"polynomial_hash", kernels.name, [&polynomials](Call& call, const Shape& s) {
                     const u8 *rows = call.secret<u8>("rows", 16 * s.n),
                              *elements = call.secret<u8>("elements", s.n, 16),
                              *key = call.open<u8>("key", 16);
                     u8 *hash = call.room<u8>(4 * 32), *sums = call.room<u8>(4 * 16);
                     call.run = [=, &polynomials] {
                       polynomials.polynomial_hash(rows, elements, s.n, key, 5, hash, sums);
                     };
                   }});
}

}  // namespace

std::vector<Case> symmetric_cases() {
  std::vector<const Kernels*> usable;
  const Processor processor;
  if (processor.aesni) usable.push_back(&symmetric_aesni());
#if defined(MOIETY_VAES)
  if (processor.vaes256) usable.push_back(&symmetric_vaes256());
  if (processor.vaes512) usable.push_back(&symmetric_vaes512());
#endif
  std::vector<Case> cases;
  for (const Kernels* kernels : usable) {
    prg(cases, *kernels);
    vole(cases, *kernels);
    lookups(cases, *kernels);
    pads(cases, *kernels);
    comparisons(cases, *kernels);
    multiplexers(cases, *kernels);
    passes(cases, *kernels);
    masked(cases, *kernels);
    columns(cases, *kernels);
  }
  return cases;
}

}  // namespace moiety::harness
