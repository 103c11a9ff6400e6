// Arguments and results of the bound kernels: checked numpy arrays in, arrays that numpy owns out.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

namespace moiety {

// Outputs are written in whole vectors: every output buffer has this many spare bytes after its end.
inline constexpr std::size_t kSlack = 512;

using Array = nanobind::ndarray<nanobind::ro, nanobind::c_contig, nanobind::device::cpu>;
inline constexpr std::size_t kAny = ~std::size_t{0};

template <class T>
const T* checked(const char* name, const Array& array, std::initializer_list<std::size_t> shape) {
  if (array.dtype() != nanobind::dtype<T>())
    throw nanobind::type_error((std::string(name) + " must be uint" + std::to_string(8 * sizeof(T))).c_str());
  bool same = array.ndim() == shape.size();
  std::string wanted, got;
  std::size_t axis = 0;
  for (const std::size_t want : shape) {
    same = same && (want == kAny || array.shape(axis) == want);
    wanted += (axis++ ? ", " : "") + (want == kAny ? std::string("n") : std::to_string(want));
  }
  for (axis = 0; axis < array.ndim(); axis++) got += (axis ? ", " : "") + std::to_string(array.shape(axis));
  if (!same)
    throw nanobind::value_error((std::string(name) + " must have shape (" + wanted + "), got (" + got + ")").c_str());
  return static_cast<const T*>(array.data());
}

inline void check_range(const char* name, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value < low || value > high) {
    const std::string range = std::to_string(low) + ".." + std::to_string(high);
    throw nanobind::value_error(
        (std::string(name) + " must be in " + range + ", got " + std::to_string(value)).c_str());
  }
}

// Large results are touched once, and first-touch faults on small pages would cost more than most kernels: ask for
// large pages, as numpy does for its own arrays. Released with free().
inline void* allocate(std::size_t bytes) {
  constexpr std::size_t kPage = std::size_t{1} << 21;
  void* data;
  if (bytes < 16 * kPage) {  // below, malloc itself reuses what was freed
    data = std::malloc(bytes);
  } else {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    data = std::aligned_alloc(kPage, bytes);
#if defined(__linux__)
    if (data != nullptr) madvise(data, bytes, MADV_HUGEPAGE);  // advice: failure changes nothing but the speed
#endif
  }
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

// A result, with spare bytes after its end, freed with the numpy array that shows it.
template <class T>
class Output {
 public:
  explicit Output(std::initializer_list<std::size_t> shape, std::size_t slack = kSlack) : shape_(shape) {
    std::size_t count = 1;
    for (const std::size_t extent : shape) count *= extent;
    data_ = static_cast<T*>(allocate(count * sizeof(T) + slack));
    owner_ = nanobind::capsule(data_, [](void* p) noexcept { std::free(p); });
  }
  T* data() const { return data_; }
  nanobind::ndarray<nanobind::numpy, T> array() const { return {data_, shape_.size(), shape_.data(), owner_}; }

 private:
  std::vector<std::size_t> shape_;
  T* data_;
  nanobind::capsule owner_;
};

}  // namespace moiety
