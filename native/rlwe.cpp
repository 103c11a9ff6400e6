// Bindings of the RLWE kernels: argument checks, outputs owned by numpy, and the choice of instruction set at run time.
#include "rlwe.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <bit>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace nb = nanobind;

namespace {

using namespace moiety;
using i8 = std::int8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T>;

// --- instruction sets --------------------------------------------------------------------------------------------------

std::vector<const RlweOps*> usable_ops() {  // best first
  std::vector<const RlweOps*> ops;
#if defined(__x86_64__) && defined(MOIETY_RLWE_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq")) {
    ops.push_back(&rlwe_avx512());
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ops.push_back(&rlwe_avx2());
#endif
  ops.push_back(&rlwe_portable());
  return ops;
}

std::atomic<const RlweOps*> active_ops{nullptr};

const RlweOps& ops() { return *active_ops.load(std::memory_order_relaxed); }

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const RlweOps* o : usable_ops()) names.emplace_back(o->name);
  return names;
}

void set_isa(const std::string& name) {
  for (const RlweOps* o : usable_ops()) {
    if (name == o->name) {
      active_ops.store(o, std::memory_order_relaxed);
      return;
    }
  }
  throw nb::value_error(("this processor or build has no instruction set '" + name + "'").c_str());
}

// --- arguments and results ---------------------------------------------------------------------------------------------

template <class T>
Out<T> result(std::vector<std::size_t> shape, T*& data, std::size_t slack = 0) {
  std::size_t size = slack;
  std::size_t elements = 1;
  for (const std::size_t s : shape) elements *= s;
  size += elements;
  data = new T[size > 0 ? size : 1];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return Out<T>(data, shape.size(), shape.data(), owner);
}

[[noreturn]] void refuse(const std::string& what) { throw nb::value_error(what.c_str()); }

template <class A>
void check_ndim(const char* name, const A& array, std::size_t ndim) {
  if (array.ndim() != ndim) refuse(std::string(name) + " must have " + std::to_string(ndim) + " dimensions");
}

std::size_t check_primes(const In<u32>& primes, std::size_t count) {
  check_ndim("primes", primes, 1);
  if (primes.shape(0) != count || count > kMaxPrimes) refuse("there must be one prime per row of residues, at most 8");
  for (std::size_t i = 0; i < count; i++) {
    if (primes.data()[i] < 3 || primes.data()[i] >= kPrimeLimit) refuse("primes must be below 2^30");
  }
  return count;
}

void check_size(const char* name, std::size_t got, std::size_t wanted) {
  if (got != wanted) refuse(std::string(name) + " has " + std::to_string(got) + " elements, expected " + std::to_string(wanted));
}

void check_bits(int bits, int most) {
  if (bits < 1 || bits > most) refuse("bits must be in 1.." + std::to_string(most) + ", got " + std::to_string(bits));
}

// --- kernels -------------------------------------------------------------------------------------------------------------

template <bool kInverse>
Out<u32> transform(const In<u32>& x, const In<u32>& primes, const In<u32>& tables) {
  check_ndim("x", x, 3);
  const std::size_t count = check_primes(primes, x.shape(0)), n = x.shape(1), degree = x.shape(2);
  if (degree < 256 || (degree & (degree - 1))) refuse("the degree must be a power of two, at least 256");
  check_size("tables", tables.size(), count * 4 * degree);
  u32* out;
  auto array = result<u32>({count, n, degree}, out);
  nb::gil_scoped_release release;
  std::copy(x.data(), x.data() + x.size(), out);
  for (std::size_t i = 0; i < count; i++) {
    (kInverse ? ops().inverse : ops().forward)(out + i * n * degree, n, degree, primes.data()[i], tables.data() + i * 4 * degree);
  }
  return array;
}

Out<u32> multiply_mod(const In<u32>& x, const In<u32>& y, const In<u32>& primes) {
  check_ndim("x", x, 3);
  const std::size_t count = check_primes(primes, x.shape(0)), n = x.shape(1), degree = x.shape(2);
  check_size("y", y.size(), count * degree);
  u32* out;
  auto array = result<u32>({count, n, degree}, out);
  nb::gil_scoped_release release;
  std::vector<u32> scratch(degree);
  for (std::size_t i = 0; i < count; i++) {
    ops().multiply(x.data() + i * n * degree, y.data() + i * degree, n, degree, primes.data()[i], scratch.data(), out + i * n * degree);
  }
  return array;
}

Out<u32> add_mod(const In<u32>& x, const In<u32>& y, const In<u32>& primes) {
  check_ndim("x", x, 2);
  const std::size_t count = check_primes(primes, x.shape(0)), n = x.shape(1);
  check_ndim("y", y, 2);
  check_size("y", y.size(), count * n);
  u32* out;
  auto array = result<u32>({count, n}, out);
  nb::gil_scoped_release release;
  for (std::size_t i = 0; i < count; i++) ops().add(x.data() + i * n, y.data() + i * n, n, primes.data()[i], out + i * n);
  return array;
}

Out<u32> lift_small(const In<i8>& values, const In<u32>& primes) {
  check_ndim("values", values, 1);
  const std::size_t count = check_primes(primes, primes.size()), n = values.shape(0);
  u32* out;
  auto array = result<u32>({count, n}, out);
  nb::gil_scoped_release release;
  for (std::size_t i = 0; i < count; i++) ops().lift_small(values.data(), n, primes.data()[i], out + i * n);
  return array;
}

Out<i8> sample_ternary(const In<u64>& words) {
  i8* out;
  auto array = result<i8>({4 * words.size()}, out);
  nb::gil_scoped_release release;
  ops().ternary(words.data(), words.size(), out);
  return array;
}

Out<i8> sample_binomial(const In<u64>& words) {
  i8* out;
  auto array = result<i8>({words.size()}, out);
  nb::gil_scoped_release release;
  ops().binomial(words.data(), words.size(), out);
  return array;
}

Out<u32> uniform_residues(const In<u32>& words, u32 prime, std::size_t count) {
  if (prime < 3 || prime >= kPrimeLimit) refuse("primes must be below 2^30");
  u32* out;
  auto array = result<u32>({count}, out, 1);
  std::size_t found;
  {
    nb::gil_scoped_release release;
    found = ops().uniform(words.data(), words.size(), prime, count, out);
  }
  if (found < count) refuse(std::to_string(count) + " residues asked for, " + std::to_string(found) + " found");
  return array;
}

Out<u32> encode_residues(const In<u64>& x, const In<u64>& dither, int bits, u64 q_low, const In<u32>& inverses, const In<u32>& primes) {
  check_ndim("x", x, 1);
  const std::size_t count = check_primes(primes, inverses.size()), n = x.shape(0);
  check_size("dither", dither.size(), n);
  check_bits(bits, 60);
  u32* out;
  auto array = result<u32>({count, n}, out);
  nb::gil_scoped_release release;
  for (std::size_t i = 0; i < count; i++) {
    ops().encode(x.data(), dither.data(), n, bits, q_low, inverses.data()[i], primes.data()[i], out + i * n);
  }
  return array;
}

Out<u32> flood_residues(const In<u64>& words, int bits, const In<u32>& primes) {
  check_ndim("words", words, 2);
  const std::size_t count = check_primes(primes, primes.size()), n = words.shape(0);
  check_size("words", words.size(), 2 * n);
  check_bits(bits, 126);
  for (std::size_t i = 0; i < count; i++) {
    if (primes.data()[i] >= kPrimeLimit / 4) refuse("flooding takes primes below 2^28");
  }
  u32* out;
  auto array = result<u32>({count, n}, out);
  nb::gil_scoped_release release;
  for (std::size_t i = 0; i < count; i++) ops().flood(words.data(), n, bits, primes.data()[i], out + i * n);
  return array;
}

Out<u64> torus_round(const In<u32>& x, const In<u32>& primes, const In<u32>& inverses, int bits) {
  check_ndim("x", x, 2);
  const std::size_t count = check_primes(primes, x.shape(0)), n = x.shape(1);
  check_size("inverses", inverses.size(), count);
  check_bits(bits, 63);
  u64* out;
  auto array = result<u64>({n}, out);
  nb::gil_scoped_release release;
  ops().torus(x.data(), n, static_cast<int>(count), primes.data(), inverses.data(), bits, out);
  return array;
}

Out<double> shifted_rows(const In<u32>& x, std::int64_t offset, std::int64_t stride, std::size_t count, std::size_t length) {
  check_ndim("x", x, 2);
  double* out;
  auto array = result<double>({x.shape(0) * count, length}, out);
  nb::gil_scoped_release release;
  ops().rows(x.data(), x.shape(0), x.shape(1), offset, stride, count, length, out);
  return array;
}

Out<u32> reduce_products(const In<double>& x, u32 prime) {
  if (prime < 3 || prime >= kPrimeLimit) refuse("primes must be below 2^30");
  std::vector<std::size_t> shape;
  for (std::size_t i = 0; i < x.ndim(); i++) shape.push_back(x.shape(i));
  u32* out;
  auto array = result<u32>(shape, out);
  nb::gil_scoped_release release;
  ops().reduce(x.data(), x.size(), prime, out);
  return array;
}

Out<u32> lift_centred(const In<u64>& x, int bits, const In<u32>& primes) {
  check_ndim("x", x, 1);
  const std::size_t count = check_primes(primes, primes.size()), n = x.shape(0);
  check_bits(bits, 60);
  u32* out;
  auto array = result<u32>({count, n}, out);
  nb::gil_scoped_release release;
  for (std::size_t i = 0; i < count; i++) ops().lift_centred(x.data(), n, bits, primes.data()[i], out + i * n);
  return array;
}

Out<u64> crt_signed(const In<u32>& x, const In<u32>& primes, int bits) {
  check_ndim("x", x, 2);
  const std::size_t count = check_primes(primes, x.shape(0)), n = x.shape(1);
  check_bits(bits, 63);
  u64* out;
  auto array = result<u64>({n}, out);
  nb::gil_scoped_release release;
  ops().crt(x.data(), n, static_cast<int>(count), primes.data(), bits, out);
  return array;
}

}  // namespace

void bind_rlwe(nb::module_& m) {
  active_ops.store(usable_ops().front());
  m.def("rlwe_isa_names", &isa_names, "Instruction sets of the RLWE kernels that run here, best first.");
  m.def("rlwe_isa", [] { return std::string(ops().name); }, "The instruction set in use.");
  m.def("set_rlwe_isa", &set_isa, nb::arg("name"), "Use another of rlwe_isa_names (for tests and benchmarks).");

  m.def("ntt_forward", &transform<false>, nb::arg("x"), nb::arg("primes"), nb::arg("tables"));
  m.def("ntt_inverse", &transform<true>, nb::arg("x"), nb::arg("primes"), nb::arg("tables"));
  m.def("multiply_mod", &multiply_mod, nb::arg("x"), nb::arg("y"), nb::arg("primes"));
  m.def("add_mod", &add_mod, nb::arg("x"), nb::arg("y"), nb::arg("primes"));
  m.def("lift_small", &lift_small, nb::arg("values"), nb::arg("primes"));
  m.def("sample_ternary", &sample_ternary, nb::arg("words"));
  m.def("sample_binomial", &sample_binomial, nb::arg("words"));
  m.def("uniform_residues", &uniform_residues, nb::arg("words"), nb::arg("prime"), nb::arg("count"));
  m.def("encode_residues", &encode_residues, nb::arg("x"), nb::arg("dither"), nb::arg("bits"), nb::arg("q_low"), nb::arg("inverses"),
        nb::arg("primes"));
  m.def("flood_residues", &flood_residues, nb::arg("words"), nb::arg("bits"), nb::arg("primes"));
  m.def("torus_round", &torus_round, nb::arg("x"), nb::arg("primes"), nb::arg("inverses"), nb::arg("bits"));
  m.def("shifted_rows", &shifted_rows, nb::arg("x"), nb::arg("offset"), nb::arg("stride"), nb::arg("count"), nb::arg("length"));
  m.def("reduce_products", &reduce_products, nb::arg("x"), nb::arg("prime"));
  m.def("lift_centred", &lift_centred, nb::arg("x"), nb::arg("bits"), nb::arg("primes"));
  m.def("crt_signed", &crt_signed, nb::arg("x"), nb::arg("primes"), nb::arg("bits"));
}
