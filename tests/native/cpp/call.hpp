// One call of a kernel's loops, without Python: what it is given, and which of that is secret.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "common.hpp"

namespace moiety::harness {

// Test data, never secrets of anybody: SplitMix64.
class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}

  u64 next() {
    u64 z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
  }
  // All values of T, or those below `limit`; signed ones from -limit to limit.
  template <class T>
  T draw(u64 limit) {
    if (limit == 0) return static_cast<T>(next());
    if constexpr (std::is_unsigned_v<T>) return static_cast<T>(next() % limit);
    return static_cast<T>(static_cast<i64>(next() % (2 * limit + 1)) - static_cast<i64>(limit));
  }

 private:
  u64 state_;
};

// What calls are made for: elements, bits of a correlation, bits of a value.
struct Shape {
  std::size_t n;
  int k;
  int bits;
};

class Call {
 public:
  explicit Call(Random& random) : random_(random) {}

  // An argument whose values must not show in the time; below `limit` where one is given.
  template <class T>
  T* secret(const char* name, std::size_t n, u64 limit = 0) {
    T* data = open<T>(name, n, limit);
    secrets_.push_back({name, data, n * sizeof(T), [=](void* to, Random& random) {
                          for (std::size_t i = 0; i < n; i++) {
                            const T value = random.draw<T>(limit);
                            std::memcpy(static_cast<u8*>(to) + i * sizeof(T), &value, sizeof(T));
                          }
                        }});
    return data;
  }

  // A public one.
  template <class T>
  T* open(const char*, std::size_t n, u64 limit = 0) {
    T* data = room<T>(n);
    for (std::size_t i = 0; i < n; i++) data[i] = random_.draw<T>(limit);
    return data;
  }

  // Where results go.
  template <class T>
  T* room(std::size_t n, std::size_t slack = 512) {
    buffers_.emplace_back(new u8[n * sizeof(T) + slack + 64]());
    const auto at = reinterpret_cast<std::uintptr_t>(buffers_.back().get());
    return reinterpret_cast<T*>((at + 63) / 64 * 64);
  }

  struct Secret {
    const char* name;
    void* data;
    std::size_t bytes;
    std::function<void(void*, Random&)> fill;
  };

  const std::vector<Secret>& secrets() const { return secrets_; }
  std::function<void()> run;

 private:
  Random& random_;
  std::vector<std::unique_ptr<u8[]>> buffers_;
  std::vector<Secret> secrets_;
};

// A kernel on one instruction set: `make` says what a call is given, and sets its `run`.
struct Case {
  std::string kernel, isa;
  std::function<void(Call&, const Shape&)> make;
};

std::vector<Case> symmetric_cases();
std::vector<Case> silent_cases();
std::vector<Case> rlwe_cases();
// Kernels whose time does depend on a secret: what the tools must find.
std::vector<Case> planted_cases();

inline std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& family : {symmetric_cases(), silent_cases(), rlwe_cases()})
    all.insert(all.end(), family.begin(), family.end());
  return all;
}

}  // namespace moiety::harness
