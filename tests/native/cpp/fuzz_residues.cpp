// libFuzzer over residues: transforms and conversions of any values, from memory that ends with
// them. Every instruction set gives the same, and laws hold: the inverse undoes the transform,
// a lift is undone by the CRT, sums and products are those of integers.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "processor.hpp"
#include "rlwe/family.hpp"

namespace {

using namespace moiety;

constexpr u32 kPrimes[2] = {133857281, 133644289};
constexpr u32 kPrime = kPrimes[0];  // 1 modulo 512

void check(bool holds) {
  if (!holds) std::abort();
}

u32 power(u64 base, u64 exponent) {
  u64 result = 1;
  for (base %= kPrime; exponent; exponent >>= 1, base = base * base % kPrime) {
    if (exponent & 1) result = result * base % kPrime;
  }
  return static_cast<u32>(result);
}

std::size_t reversed(std::size_t i, std::size_t n) {
  std::size_t r = 0;
  for (; n > 1; n >>= 1, i >>= 1) r = r << 1 | (i & 1);
  return r;
}

// Tables as protocols/linear/rlwe.ntt_tables makes them.
std::vector<u32> tables(std::size_t degree) {
  u32 root = 0;
  for (u64 g = 2; !root; g++) {
    const u32 candidate = power(g, (kPrime - 1) / (2 * degree));
    if (power(candidate, degree) == kPrime - 1) root = candidate;
  }
  std::vector<u32> made(4 * degree);
  const auto put = [&](std::size_t row, std::size_t i, u32 w) {
    made[row * degree + i] = w;
    made[(row + 1) * degree + i] = static_cast<u32>((static_cast<u64>(w) << 32) / kPrime);
  };
  for (std::size_t i = 0; i < degree; i++) {
    const u32 w = power(root, reversed(i, degree));
    put(0, i, w);
    put(2, i, i == 0 ? power(degree, kPrime - 2) : power(w, kPrime - 2));
  }
  return made;
}

std::vector<const RlweKernels*> usable() {
  const Processor processor;
  std::vector<const RlweKernels*> all{&rlwe_portable()};
  if (processor.avx2) all.push_back(&rlwe_avx2());
  if (processor.avx512) all.push_back(&rlwe_avx512());
  return all;
}

void transforms(const std::vector<const RlweKernels*>& all, const std::vector<u32>& x,
                std::size_t degree) {
  const std::vector<u32> made = tables(degree);
  std::vector<u32> first;
  for (const RlweKernels* kernels : all) {
    std::vector<u32> y = x;
    kernels->ntt.ntt_forward(y.data(), 1, degree, kPrime, made.data());
    if (first.empty()) first = y;
    check(y == first);
    for (const u32 v : y) check(v < kPrime);
    std::vector<u32> scratch(degree), square(degree);
    kernels->ntt.multiply_mod(y.data(), y.data(), 1, degree, kPrime, scratch.data(), square.data());
    for (std::size_t i = 0; i < degree; i++)
      check(square[i] == static_cast<u64>(y[i]) * y[i] % kPrime);
    kernels->ntt.ntt_inverse(y.data(), 1, degree, kPrime, made.data());
    check(y == x);
  }
}

void conversions(const std::vector<const RlweKernels*>& all, const std::vector<u64>& words,
                 int bits) {
  const std::size_t n = words.size();
  const u64 mask = (u64{1} << bits) - 1;
  for (const RlweKernels* kernels : all) {
    std::vector<u32> lifted(2 * n);
    for (int i = 0; i < 2; i++)
      kernels->residues.lift_centred(words.data(), n, bits, kPrimes[i], lifted.data() + i * n);
    std::vector<u64> back(n), rounded(n);
    kernels->residues.crt_signed(lifted.data(), n, 2, kPrimes, bits, back.data());
    for (std::size_t i = 0; i < n; i++) check(back[i] == (words[i] & mask));
    for (int i = 0; i < 2; i++) {
      std::vector<u32> doubled(n);
      kernels->residues.add_mod(lifted.data() + i * n, lifted.data() + i * n, n, kPrimes[i],
                                doubled.data());
      for (std::size_t j = 0; j < n; j++)
        check(doubled[j] == 2 * static_cast<u64>(lifted[i * n + j]) % kPrimes[i]);
    }
    std::vector<double> products(n);
    std::vector<u32> reduced(n);
    for (std::size_t i = 0; i < n; i++)
      products[i] = static_cast<double>(static_cast<i64>(words[i]) >> 11);
    kernels->residues.reduce_products(products.data(), n, kPrime, reduced.data());
    for (std::size_t i = 0; i < n; i++) {
      const i64 v = static_cast<i64>(products[i]) % kPrime;
      check(reduced[i] == static_cast<u32>(v < 0 ? v + kPrime : v));
    }
  }
}

void windows(const std::vector<const RlweKernels*>& all, const std::vector<u32>& x, u64 word) {
  const i64 degree = static_cast<i64>(x.size());
  const i64 offset = static_cast<i64>(word & 0xffff) - 0x8000,
            stride = static_cast<i64>(word >> 16 & 0xff) - 128;
  const std::size_t count = word >> 24 & 3, length = word >> 26 & 0x1ff;
  for (const RlweKernels* kernels : all) {
    std::vector<double> rows(count * length);
    kernels->residues.shifted_rows(x.data(), 1, x.size(), offset, stride, count, length,
                                   rows.data());
    for (std::size_t i = 0; i < rows.size(); i++) {
      const i64 at = offset + static_cast<i64>(i / length) * stride + static_cast<i64>(i % length);
      const i64 turns = at >= 0 ? at / degree : -((degree - 1 - at) / degree);
      check(rows[i] == (turns % 2 ? -1.0 : 1.0) * x[static_cast<std::size_t>(at - turns * degree)]);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static const std::vector<const RlweKernels*> all = usable();
  if (size < 9) return 0;
  const std::size_t degree = 256u << data[0] % 2;
  const int bits = 1 + data[0] / 2 % 52;  // below a quarter of the primes' product
  std::vector<u64> words((size - 1) / 8);
  std::memcpy(words.data(), data + 1, 8 * words.size());
  std::vector<u32> x(degree);
  for (std::size_t i = 0; i < degree; i++)
    x[i] = static_cast<u32>((words[i % words.size()] >> (i & 31)) % kPrime);
  transforms(all, x, degree);
  conversions(all, words, bits);
  windows(all, x, words[0]);
  return 0;
}
