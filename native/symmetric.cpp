// Bindings of the symmetric kernels, and their choice of instruction set at run time.
#include "symmetric.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "bitstream.hpp"

namespace nb = nanobind;

namespace {

using namespace moiety;
using u8 = std::uint8_t;
using u64 = std::uint64_t;
using Bytes = nb::ndarray<nb::numpy, u8>;
using Words = nb::ndarray<nb::numpy, u64>;

// --- instruction sets -----------------------------------------------------------------------------------------------

std::vector<const SymmetricOps*> usable_ops() {  // best first
  std::vector<const SymmetricOps*> ops;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
#if defined(MOIETY_VAES)
  const bool vaes = aes && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("avx2");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("gfni");
  if (vaes && wide) ops.push_back(&symmetric_vaes512());
  if (vaes) ops.push_back(&symmetric_vaes256());
#endif
  if (aes) ops.push_back(&symmetric_aesni());
#endif
  return ops;
}

std::atomic<const SymmetricOps*> active_ops{nullptr};

const SymmetricOps& ops() {
  const SymmetricOps* active = active_ops.load(std::memory_order_relaxed);
  if (active == nullptr) throw std::runtime_error("this processor has no AES instructions: use the reference kernels");
  return *active;
}

// --- AES ------------------------------------------------------------------------------------------------------------

Bytes aes_ctr(const Array& key, u64 counter, u64 nbytes) {
  const u8* k = checked<u8>("key", key, {16});
  check_range("nbytes", nbytes, 0, u64{1} << 62);
  const SymmetricOps& run = ops();
  const Output<u8> out({nbytes});
  {
    nb::gil_scoped_release release;
    run.ctr(k, counter, nbytes, out.data());
  }
  return out.array();
}

Bytes ggm_expand(const Array& seeds) {
  const u8* from = checked<u8>("seeds", seeds, {kAny, 16});
  const std::size_t m = seeds.shape(0);
  const SymmetricOps& run = ops();
  const Output<u8> out({m, 2, 16});
  {
    nb::gil_scoped_release release;
    run.ggm(from, m, out.data());
  }
  return out.array();
}

// --- SoftSpoken -----------------------------------------------------------------------------------------------------

// Rows come out of the transposition by up to four blocks of 128 correlations, and only the first need exist.
constexpr std::size_t kRowSlack = 3 * 128 * 16;

void check_vole(u64 counter, u64 k, u64 nblocks) {
  check_range("k", k, 1, 4);
  check_range("nblocks", nblocks, 0, u64{1} << 40);
  if (k * nblocks > 0) check_range("counter", counter, 0, 0 - k * nblocks);
}

nb::tuple vole_receiver(const Array& keys, u64 counter, u64 k, u64 nblocks) {
  const u8* leaves = checked<u8>("keys", keys, {kTrees, kLeaves, 16});
  check_vole(counter, k, nblocks);
  const SymmetricOps& run = ops();
  const Output<u8> u({128 * nblocks}), v({128 * nblocks, 16}, kRowSlack),
      corrections({(kTrees - 1) * k * nblocks * 16});
  {
    nb::gil_scoped_release release;
    run.vole_receiver(leaves, counter, static_cast<int>(k), nblocks, u.data(), v.data(), corrections.data());
  }
  return nb::make_tuple(u.array(), v.array(), corrections.array());
}

Bytes vole_sender(const Array& keys, const Array& delta, u64 counter, u64 k, u64 nblocks, const Array& corrections) {
  const u8* leaves = checked<u8>("keys", keys, {kTrees, kLeaves, 16});
  const u8* d = checked<u8>("delta", delta, {16});
  check_vole(counter, k, nblocks);
  const u8* from = checked<u8>("corrections", corrections, {(kTrees - 1) * k * nblocks * 16});
  const SymmetricOps& run = ops();
  const Output<u8> w({128 * nblocks, 16}, kRowSlack);
  {
    nb::gil_scoped_release release;
    run.vole_sender(leaves, d, counter, static_cast<int>(k), nblocks, from, w.data());
  }
  return w.array();
}

// --- lookups --------------------------------------------------------------------------------------------------------

std::size_t message_bytes(const Lookup& job) { return (job.n * ((1u << job.k) - 1) * job.bits + 7) / 8; }

Lookup make_lookup(u64 k, u64 bits, u64 max_bits, u64 tweak, std::size_t n) {
  check_range("k", k, 1, 4);
  check_range("bits", bits, 1, max_bits);
  return {static_cast<int>(k), static_cast<int>(bits), tweak, n};
}

struct SenderSide {
  const u8 *w, *delta, *shifts;

  SenderSide(const Lookup& job, const Array& w_, const Array& delta_, const Array& shifts_)
      : w(checked<u8>("w", w_, {kAny, 16})),
        delta(checked<u8>("delta", delta_, {16})),
        shifts(checked<u8>("shifts", shifts_, {job.n})) {
    u8 all = 0;
    for (std::size_t i = 0; i < job.n; i++) all |= shifts[i];
    if (all >> job.k) throw nb::value_error(("shifts must be below 2^" + std::to_string(job.k)).c_str());
  }
};

struct ReceiverSide {
  const u8 *v, *choices, *messages;

  ReceiverSide(const Lookup& job, const Array& v_, const Array& choices_, const Array& u_, const Array& messages_)
      : v(checked<u8>("v", v_, {kAny, 16})),
        choices(checked<u8>("choices", choices_, {job.n})),
        messages(checked<u8>("messages", messages_, {message_bytes(job)})) {
    checked<u8>("u", u_, {job.n});
  }
};

nb::tuple send_lookup(const Lookup& job, Table kind, const SenderSide& side, const u8* source) {
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)}), share({job.n});
  {
    nb::gil_scoped_release release;
    run.lookup_send(job, kind, side.w, side.delta, side.shifts, source, messages.data(), share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

nb::tuple lookup_send(const Array& w, const Array& delta, u64 k, u64 tweak, const Array& shifts, const Array& table,
                      u64 bits) {
  const Lookup job = make_lookup(k, bits, 8, tweak, w.ndim() ? w.shape(0) : 0);
  const SenderSide side(job, w, delta, shifts);
  return send_lookup(job, Table::kGiven, side, checked<u8>("table", table, {job.n, std::size_t{1} << k}));
}

Bytes lookup_recv(const Array& v, u64 k, u64 tweak, const Array& choices, const Array& u, u64 bits,
                  const Array& messages) {
  const Lookup job = make_lookup(k, bits, 8, tweak, v.ndim() ? v.shape(0) : 0);
  const ReceiverSide side(job, v, choices, u, messages);
  const SymmetricOps& run = ops();
  const Output<u8> share({job.n});
  {
    nb::gil_scoped_release release;
    run.lookup_recv(job, side.v, side.choices, side.messages, share.data());
  }
  return share.array();
}

nb::tuple arith_send(const Array& w, const Array& delta, u64 k, u64 tweak, const Array& shifts, const Array& table,
                     u64 bits) {
  const Lookup job = make_lookup(k, bits, 64, tweak, w.ndim() ? w.shape(0) : 0);
  const SenderSide side(job, w, delta, shifts);
  const u64* rows = checked<u64>("table", table, {job.n, std::size_t{1} << k});
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)});
  const Output<u64> share({job.n});
  {
    nb::gil_scoped_release release;
    run.arith_send(job, side.w, side.delta, side.shifts, rows, messages.data(), share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

Words arith_recv(const Array& v, u64 k, u64 tweak, const Array& choices, const Array& u, u64 bits,
                 const Array& messages) {
  const Lookup job = make_lookup(k, bits, 64, tweak, v.ndim() ? v.shape(0) : 0);
  const ReceiverSide side(job, v, choices, u, messages);
  const SymmetricOps& run = ops();
  const Output<u64> share({job.n});
  {
    nb::gil_scoped_release release;
    run.arith_recv(job, side.v, side.choices, side.messages, share.data());
  }
  return share.array();
}

// --- gates ----------------------------------------------------------------------------------------------------------

nb::tuple leaves_send(const Array& w, const Array& delta, u64 k, u64 tweak, const Array& shifts, const Array& digits,
                      bool with_eq) {
  const std::size_t count = digits.ndim() == 2 ? digits.shape(0) : 0;
  check_range("the number of rows of digits", count, 1, 32);
  const Lookup job = make_lookup(k, count * (1 + with_eq), 64, tweak, w.ndim() ? w.shape(0) : 0);
  const SenderSide side(job, w, delta, shifts);
  const u8* rows = checked<u8>("digits", digits, {count, job.n});
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)}), share({count, job.n});
  {
    nb::gil_scoped_release release;
    run.leaves_send(job, static_cast<int>(count), with_eq, side.w, side.delta, side.shifts, rows, messages.data(),
                    share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

Bytes leaves_recv(const Array& v, u64 k, u64 tweak, const Array& choices, const Array& u, u64 count, bool with_eq,
                  const Array& messages) {
  check_range("count", count, 1, 32);
  const Lookup job = make_lookup(k, count * (1 + with_eq), 64, tweak, v.ndim() ? v.shape(0) : 0);
  const ReceiverSide side(job, v, choices, u, messages);
  const SymmetricOps& run = ops();
  const Output<u8> share({static_cast<std::size_t>(count), job.n});
  {
    nb::gil_scoped_release release;
    run.leaves_recv(job, static_cast<int>(count), with_eq, side.v, side.choices, side.messages, share.data());
  }
  return share.array();
}

nb::tuple join_send(const Array& w, const Array& delta, u64 k, u64 tweak, const Array& shifts, const Array& own,
                    const Array& function, u64 bits) {
  const Lookup job = make_lookup(k, bits, 8, tweak, w.ndim() ? w.shape(0) : 0);
  const SenderSide side(job, w, delta, shifts);
  const u8* mine = checked<u8>("own", own, {job.n});
  const u8* table = checked<u8>("function", function, {std::size_t{1} << k});
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)}), share({job.n});
  {
    nb::gil_scoped_release release;
    run.join_send(job, side.w, side.delta, side.shifts, mine, table, messages.data(), share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

nb::tuple mux_server(const Array& w, const Array& delta, u64 tweak, const Array& shifts, const Array& x,
                     const Array& gate, const Array& flip, u64 bits, u64 out_bits) {
  const Lookup job = make_lookup(2, out_bits, 64, tweak, w.ndim() ? w.shape(0) : 0);
  check_range("bits", bits, 2, 64);
  const SenderSide side(job, w, delta, shifts);
  const u64* values = checked<u64>("x", x, {job.n});
  const u8 *gates = checked<u8>("gate", gate, {job.n}), *flips = checked<u8>("flip", flip, {job.n});
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)});
  const Output<u64> share({job.n});
  {
    nb::gil_scoped_release release;
    run.mux_server(job, static_cast<int>(bits), side.w, side.delta, side.shifts, values, gates, flips,
                   messages.data(), share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

nb::tuple mux_client(const Array& w, const Array& delta, u64 tweak, const Array& shifts, const Array& x,
                     const Array& gate, u64 bits, u64 out_bits) {
  const Lookup job = make_lookup(1, out_bits, 64, tweak, w.ndim() ? w.shape(0) : 0);
  check_range("bits", bits, 2, 64);
  const SenderSide side(job, w, delta, shifts);
  const u64* values = checked<u64>("x", x, {job.n});
  const u8* gates = checked<u8>("gate", gate, {job.n});
  const SymmetricOps& run = ops();
  const Output<u8> messages({message_bytes(job)});
  const Output<u64> share({job.n});
  {
    nb::gil_scoped_release release;
    run.mux_client(job, static_cast<int>(bits), side.w, side.delta, side.shifts, values, gates, messages.data(),
                   share.data());
  }
  return nb::make_tuple(messages.array(), share.array());
}

// --- bit streams ----------------------------------------------------------------------------------------------------

// Eight bytes of `bits` bits each, joined and spread again.
u64 join_bytes(u64 x, int bits) {
  const u64 m1 = low_mask(bits) * 0x0001000100010001ull, m2 = low_mask(2 * bits) * 0x0000000100000001ull,
            m3 = low_mask(4 * bits);
  x = (x & m1) | (x >> (8 - bits) & m1 << bits);
  x = (x & m2) | (x >> (16 - 2 * bits) & m2 << 2 * bits);
  return (x & m3) | (x >> (32 - 4 * bits) & m3 << 4 * bits);
}

u64 spread_bytes(u64 x, int bits) {
  const u64 m1 = low_mask(bits) * 0x0001000100010001ull, m2 = low_mask(2 * bits) * 0x0000000100000001ull,
            m3 = low_mask(4 * bits);
  x = (x & m3) | (x & m3 << 4 * bits) << (32 - 4 * bits);
  x = (x & m2) | (x & m2 << 2 * bits) << (16 - 2 * bits);
  return (x & m1) | (x & m1 << bits) << (8 - bits);
}

void pack8(const u8* values, std::size_t n, int bits, u8* out) {
  for (std::size_t i = 0; i < n; i += 8, out += bits) {
    u64 eight = 0;
    std::memcpy(&eight, values + i, n - i < 8 ? n - i : 8);
    store64(out, join_bytes(eight, bits));  // the upper bytes are zero, and written over or spare
  }
}

void pack64(const u64* values, std::size_t n, int bits, u8* out) {
  const u64 mask = low_mask(bits);
  BitWriter to(out);
  for (std::size_t i = 0; i < n; i++) to.put_wide(values[i] & mask, bits);
}

// Calls `read(bytes, first, count)` for groups of fields of which 16 bytes past the end may be read.
template <class Read>
void groups(const u8* data, std::size_t n, int bits, Read read) {
  constexpr std::size_t kStep = 4096;
  std::size_t at = 0;
  const std::size_t margin = (128 + bits - 1) / bits;
  for (; at + kStep + margin <= n; at += kStep) read(data + at / 8 * bits, at, kStep);
  const std::size_t rest = (n * bits + 7) / 8 - at / 8 * bits;
  std::vector<u8> padded(rest + 16);
  if (rest > 0) std::memcpy(padded.data(), data + at / 8 * bits, rest);
  read(padded.data(), at, n - at);
}

Bytes pack(const Array& values, u64 bits) {
  const bool words = values.dtype() == nb::dtype<u64>();
  const u8* bytes = nullptr;
  const u64* wide = nullptr;
  if (words) {
    wide = checked<u64>("values", values, {kAny});
  } else if (values.dtype() == nb::dtype<u8>()) {
    bytes = checked<u8>("values", values, {kAny});
  } else {
    throw nb::type_error("values must be uint8 or uint64");
  }
  check_range("bits", bits, 1, words ? 64 : 8);
  const std::size_t n = values.shape(0);
  const Output<u8> out({(n * bits + 7) / 8});
  {
    nb::gil_scoped_release release;
    if (words) {
      pack64(wide, n, static_cast<int>(bits), out.data());
    } else {
      pack8(bytes, n, static_cast<int>(bits), out.data());
    }
  }
  return out.array();
}

Words unpack(const Array& data, u64 n, u64 bits) {
  check_range("n", n, 0, u64{1} << 48);
  check_range("bits", bits, 1, 64);
  const u8* from = checked<u8>("data", data, {(n * bits + 7) / 8});
  const Output<u64> out({n});
  {
    nb::gil_scoped_release release;
    const int width = static_cast<int>(bits);
    groups(from, n, width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      u64* to = out.data() + at;
      if (width <= 56) {
        const u64 mask = low_mask(width);
        for (std::size_t i = 0; i < count; i++) to[i] = load64(bytes + (i * width >> 3)) >> (i * width & 7) & mask;
      } else {
        for (std::size_t i = 0; i < count; i++) to[i] = read_bits(bytes, i * width, width);
      }
    });
  }
  return out.array();
}

Bytes unpack8(const Array& data, u64 n, u64 bits) {
  check_range("n", n, 0, u64{1} << 48);
  check_range("bits", bits, 1, 8);
  const u8* from = checked<u8>("data", data, {(n * bits + 7) / 8});
  const Output<u8> out({n});
  {
    nb::gil_scoped_release release;
    const int width = static_cast<int>(bits);
    groups(from, n, width, [&](const u8* bytes, std::size_t at, std::size_t count) {
      for (std::size_t i = 0; i < count; i += 8)
        store64(out.data() + at + i, spread_bytes(load64(bytes + i / 8 * width), width));
    });
  }
  return out.array();
}

// --- choice of instruction set --------------------------------------------------------------------------------------

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const SymmetricOps* each : usable_ops()) names.emplace_back(each->name);
  return names;
}

void set_isa(const std::string& name) {
  for (const SymmetricOps* each : usable_ops()) {
    if (name == each->name) {
      active_ops.store(each);
      return;
    }
  }
  throw nb::value_error(("this processor has no " + name).c_str());
}

}  // namespace

void bind_symmetric(nb::module_& m) {
  using namespace nb::literals;
  const std::vector<const SymmetricOps*> usable = usable_ops();
  if (!usable.empty()) active_ops.store(usable.front());
  m.def(
      "symmetric_supported", [] { return active_ops.load() != nullptr; },
      "Whether the processor has AES instructions.");
  m.def("symmetric_isa_names", &isa_names, "Instruction sets of the symmetric kernels that run here, best first.");
  m.def("symmetric_isa", [] { return std::string(ops().name); }, "The instruction set in use.");
  m.def("set_symmetric_isa", &set_isa, "name"_a, "Use another of symmetric_isa_names (for tests and benchmarks).");

  m.def("aes_ctr", &aes_ctr, "key"_a, "counter"_a, "nbytes"_a);
  m.def("ggm_expand", &ggm_expand, "seeds"_a);
  m.def("vole_receiver", &vole_receiver, "keys"_a, "counter"_a, "k"_a, "nblocks"_a);
  m.def("vole_sender", &vole_sender, "keys"_a, "delta"_a, "counter"_a, "k"_a, "nblocks"_a, "corrections"_a);
  m.def("lookup_send", &lookup_send, "w"_a, "delta"_a, "k"_a, "tweak"_a, "shifts"_a, "table"_a, "bits"_a);
  m.def("lookup_recv", &lookup_recv, "v"_a, "k"_a, "tweak"_a, "choices"_a, "u"_a, "bits"_a, "messages"_a);
  m.def("arith_send", &arith_send, "w"_a, "delta"_a, "k"_a, "tweak"_a, "shifts"_a, "table"_a, "bits"_a);
  m.def("arith_recv", &arith_recv, "v"_a, "k"_a, "tweak"_a, "choices"_a, "u"_a, "bits"_a, "messages"_a);
  m.def("leaves_send", &leaves_send, "w"_a, "delta"_a, "k"_a, "tweak"_a, "shifts"_a, "digits"_a, "with_eq"_a);
  m.def("leaves_recv", &leaves_recv, "v"_a, "k"_a, "tweak"_a, "choices"_a, "u"_a, "count"_a, "with_eq"_a,
        "messages"_a);
  m.def("join_send", &join_send, "w"_a, "delta"_a, "k"_a, "tweak"_a, "shifts"_a, "own"_a, "function"_a, "bits"_a);
  m.def("mux_server", &mux_server, "w"_a, "delta"_a, "tweak"_a, "shifts"_a, "x"_a, "gate"_a, "flip"_a, "bits"_a,
        "out_bits"_a);
  m.def("mux_client", &mux_client, "w"_a, "delta"_a, "tweak"_a, "shifts"_a, "x"_a, "gate"_a, "bits"_a, "out_bits"_a);
  m.def("pack", &pack, "values"_a, "bits"_a);
  m.def("unpack", &unpack, "data"_a, "n"_a, "bits"_a);
  m.def("unpack8", &unpack8, "data"_a, "n"_a, "bits"_a);
}
