// Bindings of the silent-VOLE kernels: argument checks and the choice of instruction set at run time.
#include "silent.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace nb = nanobind;

namespace {

using namespace moiety;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u64 = std::uint64_t;

std::vector<const SilentOps*> usable_ops() {  // best first
  std::vector<const SilentOps*> ops;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
#if defined(MOIETY_VAES)
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (aes && wide && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("gfni")) ops.push_back(&silent_vaes512());
#endif
  if (aes) ops.push_back(&silent_aesni());
#endif
  return ops;
}

std::atomic<const SilentOps*> active_ops{nullptr};

const SilentOps& ops() {
  const SilentOps* active = active_ops.load(std::memory_order_relaxed);
  if (active == nullptr) throw std::runtime_error("this processor has no AES instructions: use the reference kernels");
  return *active;
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const SilentOps* candidate : usable_ops()) names.emplace_back(candidate->name);
  return names;
}

void set_isa(const std::string& name) {
  for (const SilentOps* candidate : usable_ops()) {
    if (candidate->name == name) {
      active_ops.store(candidate);
      return;
    }
  }
  throw nb::value_error(("no instruction set " + name + " here").c_str());
}

// --- arguments ------------------------------------------------------------------------------------------------------

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Target = nb::ndarray<nb::c_contig, nb::device::cpu>;  // written to; bound without conversion, which would copy
using Bytes = nb::ndarray<nb::numpy, u8>;
constexpr std::size_t kAny = ~std::size_t{0};

template <class T, class A>
auto* checked(const char* name, const A& array, std::initializer_list<std::size_t> shape) {
  if (array.dtype() != nb::dtype<T>())
    throw nb::type_error((std::string(name) + " must be uint" + std::to_string(8 * sizeof(T))).c_str());
  bool same = array.ndim() == shape.size();
  std::size_t axis = 0;
  for (const std::size_t want : shape) {
    same = same && (want == kAny || array.shape(axis) == want);
    axis++;
  }
  if (!same) {
    std::string wanted;
    for (const std::size_t want : shape)
      wanted += (wanted.empty() ? "" : ", ") + (want == kAny ? std::string("n") : std::to_string(want));
    throw nb::value_error((std::string(name) + " must have shape (" + wanted + ")").c_str());
  }
  if constexpr (std::is_same_v<A, Target>) {
    return static_cast<T*>(array.data());
  } else {
    return static_cast<const T*>(array.data());
  }
}

void check_range(const char* name, u64 value, u64 low, u64 high) {
  if (value < low || value > high) {
    const std::string range = std::to_string(low) + ".." + std::to_string(high);
    throw nb::value_error((std::string(name) + " must be in " + range + ", got " + std::to_string(value)).c_str());
  }
}

Code make_code(const Array& key, u64 start, std::size_t size) {
  const u8* k = checked<u8>("key", key, {16});
  check_range("start", start, 0, u64{1} << 40);
  check_range("size", size, 1, u64{1} << 20);
  return {k, start, static_cast<std::uint32_t>(size)};
}

Bytes owned(u8* data, std::initializer_list<std::size_t> shape) {
  const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<u8*>(p); });
  return {data, shape.size(), shape.begin(), owner};
}

// --- kernels --------------------------------------------------------------------------------------------------------

Bytes hash_blocks(const Array& blocks, u64 tweak) {
  const u8* from = checked<u8>("blocks", blocks, {kAny, 16});
  const std::size_t n = blocks.shape(0);
  const SilentOps& run = ops();
  u8* out = new u8[16 * n];
  {
    nb::gil_scoped_release release;
    run.hash_blocks(from, n, tweak, out);
  }
  return owned(out, {n, 16});
}

void add_multiples(const Target& target, const Array& delta, const Array& elements) {
  u8* to = checked<u8>("target", target, {kAny, 16});
  const std::size_t n = target.shape(0);
  const u8* d = checked<u8>("delta", delta, {16});
  const u8* e = checked<u8>("elements", elements, {n});
  unsigned all = 0;
  for (std::size_t i = 0; i < n; i++) all |= e[i];
  if (all > 15) throw nb::value_error("elements must be below 16");
  const SilentOps& run = ops();
  nb::gil_scoped_release release;
  run.add_multiples(to, d, e, n);
}

Bytes tree_full(const Array& keys, const Array& offset, const Array& roots, u64 depth, const Target& leaves) {
  const u8* k = checked<u8>("keys", keys, {kAny, 16});
  const std::size_t trees = keys.shape(0);
  check_range("depth", depth, 2, 16);
  u8* to = checked<u8>("leaves", leaves, {trees << depth, 16});
  const u8* o = checked<u8>("offset", offset, {16});
  const u8* r = checked<u8>("roots", roots, {trees, 16});
  const SilentOps& run = ops();
  u8* sums = new u8[trees * (depth + 1) * 16];
  {
    nb::gil_scoped_release release;
    run.tree_full(k, o, r, trees, static_cast<int>(depth), to, sums);
  }
  return owned(sums, {trees, depth + 1, 16});
}

void tree_punctured(const Array& keys, const Array& holes, const Array& sums, u64 depth, const Target& leaves) {
  const u8* k = checked<u8>("keys", keys, {kAny, 16});
  const std::size_t trees = keys.shape(0);
  check_range("depth", depth, 2, 16);
  u8* to = checked<u8>("leaves", leaves, {trees << depth, 16});
  const u16* h = checked<u16>("holes", holes, {trees});
  const u8* s = checked<u8>("sums", sums, {trees, depth + 1, 16});
  unsigned all = 0;
  for (std::size_t t = 0; t < trees; t++) all |= h[t];
  if (all >> depth) throw nb::value_error(("holes must be below 2^" + std::to_string(depth)).c_str());
  const SilentOps& run = ops();
  nb::gil_scoped_release release;
  run.tree_punctured(k, h, s, trees, static_cast<int>(depth), to);
}

void encode_blocks(const Array& seeds, const Array& key, u64 start, const Target& target) {
  const u8* from = checked<u8>("seeds", seeds, {kAny, 16});
  u8* to = checked<u8>("target", target, {kAny, 16});
  const Code code = make_code(key, start, seeds.shape(0));
  const SilentOps& run = ops();
  const std::size_t n = target.shape(0);
  nb::gil_scoped_release release;
  run.encode_blocks(from, code, n, to);
}

Bytes encode_nibbles(const Array& seeds, const Array& key, u64 start, u64 n, u64 depth, const Array& holes,
                     const Array& values) {
  const u8* from = checked<u8>("seeds", seeds, {kAny});
  const Code code = make_code(key, start, seeds.shape(0));
  check_range("depth", depth, 0, 16);
  const u16* h = checked<u16>("holes", holes, {kAny});
  const u8* v = checked<u8>("values", values, {holes.shape(0)});
  check_range("n", n, 0, u64{1} << 32);
  check_range("start + n", start + n, 0, u64{holes.shape(0)} << depth);
  unsigned all = 0;
  for (std::size_t i = 0; i < code.size; i++) all |= from[i];
  if (all > 15) throw nb::value_error("seeds must be below 16");
  const SilentOps& run = ops();
  std::vector<u8> padded(code.size + kSeedSlack);
  std::copy(from, from + code.size, padded.begin());
  u8* out = new u8[n];
  {
    nb::gil_scoped_release release;
    run.encode_nibbles(padded.data(), code, n, {static_cast<int>(depth), h, v}, out);
  }
  return owned(out, {n});
}

}  // namespace

void bind_silent(nb::module_& m) {
  using namespace nb::literals;
  const auto usable = usable_ops();
  if (!usable.empty()) active_ops.store(usable.front());
  m.def("silent_isa_names", &isa_names, "Instruction sets that run here, best first; the first is the one in use.");
  m.def("silent_isa", [] { return std::string(ops().name); }, "The one in use.");
  m.def("set_silent_isa", &set_isa, "name"_a, "Use another of `silent_isa_names()` (tests and benchmarks).");

  m.def("hash_blocks", &hash_blocks, "blocks"_a, "tweak"_a);
  m.def("add_multiples", &add_multiples, "target"_a.noconvert(), "delta"_a, "elements"_a);
  m.def("tree_full", &tree_full, "keys"_a, "offset"_a, "roots"_a, "depth"_a, "leaves"_a.noconvert());
  m.def("tree_punctured", &tree_punctured, "keys"_a, "holes"_a, "sums"_a, "depth"_a, "leaves"_a.noconvert());
  m.def("encode_blocks", &encode_blocks, "seeds"_a, "key"_a, "start"_a, "target"_a.noconvert());
  m.def("encode_nibbles", &encode_nibbles, "seeds"_a, "key"_a, "start"_a, "n"_a, "depth"_a, "holes"_a, "values"_a);
}
