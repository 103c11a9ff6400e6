// Arguments and results of the bound kernels: checked numpy arrays in, arrays that numpy owns out.
// The checks are those of reference/checks.py.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
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

// Read; the dtype is checked by `checked`, never converted.
using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
// Written to: bound with `noconvert()`, since a converted copy would lose what is written.
using Target = nb::ndarray<nb::c_contig, nb::device::cpu>;
// Read, of a dtype that nanobind checks, or converts to.
template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
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

inline constexpr std::size_t kAny = ~std::size_t{0};

// The data of an `Array` or `Target` of dtype T and the given shape, in which kAny is any extent.
template <class T, class A>
auto* checked(const char* name, const A& array, std::initializer_list<std::size_t> shape) {
  if (array.dtype() != nb::dtype<T>()) {
    const std::string wanted = "uint" + std::to_string(8 * sizeof(T));
    throw nb::type_error((std::string(name) + " must be " + wanted).c_str());
  }
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
  if constexpr (std::is_same_v<A, Target>) {
    return static_cast<T*>(array.data());
  } else {
    return static_cast<const T*>(array.data());
  }
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
      : shape_(std::move(shape)) {
    std::size_t count = 1;
    for (const std::size_t extent : shape_) count *= extent;
    data_ = static_cast<T*>(allocate(count * sizeof(T) + slack));
    owner_ = nb::capsule(data_, [](void* p) noexcept { std::free(p); });
  }
  T* data() const { return data_; }
  Out<T> array() const { return {data_, shape_.size(), shape_.data(), owner_}; }

 private:
  std::vector<std::size_t> shape_;
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
