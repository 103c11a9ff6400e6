// Arguments and results of the bound kernels: checked numpy arrays in, arrays that numpy owns out.
// The checks are those of reference/checks.py. No argument, however wrong, makes a kernel read or
// write memory that is not its own: what decides how much of it is touched is checked here, and the
// values of secrets, which are not checked, decide nothing of the kind.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "common.hpp"
#include "pool.hpp"

namespace moiety {

namespace nb = nanobind;
using namespace nanobind::literals;

// Outputs are written in whole vectors: every output buffer has this many spare bytes after its
// end.
inline constexpr std::size_t kSlack = 512;

// Read; the dtype is checked by `checked`, never converted. Strided arrays are copied.
using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
// Written to: bound with `noconvert()`, since a converted copy would lose what is written.
using Target = nb::ndarray<nb::c_contig, nb::device::cpu>;
// A result.
template <class T>
using Out = nb::ndarray<nb::numpy, T>;

[[noreturn]] inline void refuse(const std::string& what) { throw nb::value_error(what.c_str()); }

inline void check_range(const char* name, u64 value, u64 low, u64 high) {
  if (value < low || value > high) {
    refuse(std::string(name) + " must be in " + std::to_string(low) + ".." + std::to_string(high) +
           ", got " + std::to_string(value));
  }
}

inline void check_range(const char* name, i64 value, i64 low, i64 high) {
  if (value < low || value > high) {
    refuse(std::string(name) + " must be in " + std::to_string(low) + ".." + std::to_string(high) +
           ", got " + std::to_string(value));
  }
}

inline constexpr std::size_t kAny = ~std::size_t{0};

template <class T>
std::string dtype_name() {
  const char* kind = std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint";
  return kind + std::to_string(8 * sizeof(T));
}

// The data of an `Array` or `Target` of dtype T, which need not have any certain shape.
template <class T, class A>
auto* checked(const char* name, const A& array) {
  if (array.dtype() != nb::dtype<T>()) {
    throw nb::type_error((std::string(name) + " must be " + dtype_name<T>()).c_str());
  }
  if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T)) {
    refuse(std::string(name) + " must be aligned in memory: copy it");
  }
  if constexpr (std::is_same_v<A, Target>) {
    return static_cast<T*>(array.data());
  } else {
    return static_cast<const T*>(array.data());
  }
}

// The same of the given shape, in which kAny is any extent.
template <class T, class A>
auto* checked(const char* name, const A& array, std::initializer_list<std::size_t> shape) {
  auto* data = checked<T>(name, array);
  bool same = array.ndim() == shape.size();
  std::string wanted, got;
  std::size_t axis = 0;
  for (const std::size_t want : shape) {
    same = same && (want == kAny || array.shape(axis) == want);
    wanted += (axis++ ? ", " : "") + (want == kAny ? std::string("n") : std::to_string(want));
  }
  for (axis = 0; axis < array.ndim(); axis++) {
    got += (axis ? ", " : "") + std::to_string(array.shape(axis));
  }
  if (!same) refuse(std::string(name) + " must have shape (" + wanted + "), got (" + got + ")");
  return data;
}

// A target shares no memory with what is read while it is written to.
template <class Other>
void check_apart(const char* name, const Target& target, const Other& other) {
  const auto *from = static_cast<const u8*>(target.data()),
             *data = static_cast<const u8*>(other.data());
  if (std::less<>()(from, data + other.nbytes()) && std::less<>()(data, from + target.nbytes()))
    refuse(std::string(name) + " must share no memory with other arguments");
}
inline void check_apart(const char* name, const Target& target,
                        std::initializer_list<const Array*> others) {
  for (const Array* other : others) check_apart(name, target, *other);
}

// First extent, for arrays whose dimensions are checked afterwards.
inline std::size_t rows_of(const Array& array) { return array.ndim() > 0 ? array.shape(0) : 0; }

// Whether a public array has an element of more than `bits` bits.
template <class T>
bool exceeds(const T* values, std::size_t n, int bits) {
  T all = 0;
  for (std::size_t i = 0; i < n; i++) all |= values[i];
  return all >> bits;
}

// How many elements an array of this shape has. No result has 2^58 bytes or more.
inline std::size_t elements_of(const std::vector<std::size_t>& shape, std::size_t size) {
  constexpr std::size_t kMost = std::size_t{1} << 58;
  std::size_t count = 1;
  bool fits = true;
  for (const std::size_t extent : shape)
    fits = !__builtin_mul_overflow(count, extent, &count) && fits;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  if (!fits || count > kMost / size) refuse("the result would be too large");
  return count;
}

// Large results are touched once, and first-touch faults on small pages would cost more than most
// kernels: ask for large pages, as numpy does for its own arrays. Released with free().
inline void* allocate(std::size_t bytes) {
  constexpr std::size_t kPage = std::size_t{1} << 21;
  void* data;
  if (bytes < 16 * kPage) {  // below, malloc itself reuses what was freed
    data = std::malloc(bytes);
  } else {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    data = std::aligned_alloc(kPage, bytes);
#if defined(__linux__)
    // Advice: failure changes nothing but the speed.
    if (data != nullptr) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  }
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

// A result, with spare bytes after its end, freed with the numpy array that shows it.
template <class T>
class Output {
 public:
  explicit Output(std::vector<std::size_t> shape, std::size_t slack = kSlack)
      : shape_(std::move(shape)), size_(elements_of(shape_, sizeof(T))) {
    data_ = static_cast<T*>(allocate(size_ * sizeof(T) + slack));
    owner_ = nb::capsule(data_, [](void* p) noexcept { std::free(p); });
  }
  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  Out<T> array() const { return {data_, shape_.size(), shape_.data(), owner_}; }

 private:
  std::vector<std::size_t> shape_;
  std::size_t size_;
  T* data_;
  nb::capsule owner_;
};

// Runs a kernel while other Python threads may run.
template <class Run>
void without_gil(Run run) {
  nb::gil_scoped_release release;
  run();
}

// The same of work that the pool's threads share, range by range; without a pool, all at once.
template <class Run>
void without_gil(Pool* pool, const Work& work, const Run& run) {
  if (work.n == 0) return;
  nb::gil_scoped_release release;
  if (pool == nullptr) return run(Range{0, work.n, 0});
  pool->share(work, run);
}

// In how many ranges that is.
inline std::size_t ranges(const Pool* pool, const Work& work) {
  return pool == nullptr ? 1 : pool->ranges(work);
}

// The last argument of such a kernel: None for no pool.
inline auto pool_argument() { return "pool"_a.none() = nb::none(); }

}  // namespace moiety
