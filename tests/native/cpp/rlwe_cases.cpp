// Calls of the RLWE kernels. What is public: primes and what follows from them, sizes, the words of
// `uniform_residues`; every residue, weight and sample is secret.
#include "call.hpp"
#include "processor.hpp"
#include "rlwe/family.hpp"

namespace moiety::harness {
namespace {

using Kernels = RlweKernels;
constexpr u32 kPrimes[2] = {133857281, 133644289};
constexpr u32 kPrime = kPrimes[0];
constexpr std::size_t kDegree = 256;

void transforms(std::vector<Case>& cases, const Kernels& kernels) {
  const NttKernels& t = kernels.ntt;
  for (const bool forward : {true, false}) {
    const auto kernel = forward ? t.ntt_forward : t.ntt_inverse;
    cases.push_back(
        {forward ? "ntt_forward" : "ntt_inverse", kernels.name, [kernel](Call& call, const Shape&) {
           u32* x = call.secret<u32>("x", kDegree, kPrime);
           const u32* tables = call.open<u32>("tables", 4 * kDegree, kPrime);
           call.run = [=] { kernel(x, 1, kDegree, kPrime, tables); };
         }});
  }
  cases.push_back({"multiply_mod", kernels.name, [&t](Call& call, const Shape&) {
                     const u32 *x = call.secret<u32>("x", kDegree, kPrime),
                               *y = call.secret<u32>("y", kDegree, kPrime);
                     u32 *scratch = call.room<u32>(kDegree), *out = call.room<u32>(kDegree);
                     call.run = [=, &t] { t.multiply_mod(x, y, 1, kDegree, kPrime, scratch, out); };
                   }});
}

void products(std::vector<Case>& cases, const Kernels& kernels) {
  const ProductKernels& t = kernels.products;
  cases.push_back({"add_products", kernels.name, [&t](Call& call, const Shape& s) {
                     const std::size_t answers = 4 + s.k, terms = 9, width = s.n + 5;
                     double* sums = call.secret<double>("sums", answers * s.n, u64{1} << 40);
                     const double* factors = call.secret<double>("factors", answers * terms, 127);
                     const double* rows = call.secret<double>("rows", terms * width, u64{1} << 27);
                     call.run = [=, &t] {
                       t.add_products(factors, rows, width, answers, terms, s.n, sums);
                     };
                   }});
}

void convolutions(std::vector<Case>& cases, const Kernels& kernels) {
  const ConvolutionKernels& t = kernels.convolution;
  cases.push_back(
      {"add_convolution", kernels.name, [&t](Call& call, const Shape& s) {
         const int bits = s.bits > 32 ? 32 : s.bits;
         const Convolved c{.groups = 2,
                           .channels = 3,
                           .height = 1 + s.n / 7,
                           .width = 7,
                           .filters = static_cast<std::size_t>(2 + s.k),
                           .kernel_height = 3,
                           .kernel_width = 2,
                           .top = 1,
                           .left = 1,
                           .bottom = 1,
                           .right = 0,
                           .dilation_y = 1,
                           .dilation_x = 1,
                           .bits = bits,
                           .guard = bits > 8 ? s.k - 3 : 1};
         const std::size_t pairs = c.groups * c.pairs(), filters = c.groups * c.filters;
         const std::size_t outputs = filters * c.out_height() * c.out_width();
         const u64* x = call.secret<u64>("x", c.groups * c.channels * c.height * c.width);
         const i16* weight = call.secret<i16>("weight", 2 * filters * c.terms());
         const u64* added = call.secret<u64>("added", filters);
         u64* sums = call.secret<u64>("sums", outputs);
         u32* planes = call.room<u32>(pairs * c.halves() * c.plane());
         call.run = [=, &t] {
           t.cut_halves(c, x, Range{0, pairs, 0}, planes);
           t.add_convolution(c, planes, weight, added, 1, Range{0, c.positions(), 0}, sums);
         };
       }});
}

void lifts(std::vector<Case>& cases, const Kernels& kernels) {
  const ResidueKernels& t = kernels.residues;
  cases.push_back({"add_mod", kernels.name, [&t](Call& call, const Shape& s) {
                     const u32 *x = call.secret<u32>("x", s.n, kPrime),
                               *y = call.secret<u32>("y", s.n, kPrime);
                     u32* out = call.room<u32>(s.n);
                     call.run = [=, &t] { t.add_mod(x, y, s.n, kPrime, out); };
                   }});
  cases.push_back({"lift_small", kernels.name, [&t](Call& call, const Shape& s) {
                     const i8* values = call.secret<i8>("values", s.n, 21);
                     u32* out = call.room<u32>(s.n);
                     call.run = [=, &t] { t.lift_small(values, s.n, kPrime, out); };
                   }});
  cases.push_back({"lift_centred", kernels.name, [&t](Call& call, const Shape& s) {
                     const int bits = s.bits > 60 ? 60 : s.bits;
                     const u64* x = call.secret<u64>("x", s.n);
                     u32* out = call.room<u32>(s.n);
                     call.run = [=, &t] { t.lift_centred(x, s.n, bits, kPrime, out); };
                   }});
  cases.push_back(
      {"encode_residues", kernels.name, [&t](Call& call, const Shape& s) {
         const int bits = s.bits > 60 ? 60 : s.bits;
         const u64 *x = call.secret<u64>("x", s.n), *dither = call.secret<u64>("dither", s.n);
         u32* out = call.room<u32>(s.n);
         call.run = [=, &t] { t.encode_residues(x, dither, s.n, bits, 12345, 6789, kPrime, out); };
       }});
}

void rounding(std::vector<Case>& cases, const Kernels& kernels) {
  const ResidueKernels& t = kernels.residues;
  cases.push_back({"torus_round", kernels.name, [&t](Call& call, const Shape& s) {
                     static constexpr u32 kInverses[2] = {98765, 4321};
                     const int bits = s.bits > 63 ? 63 : s.bits;
                     const u32* x = call.secret<u32>("x", 2 * s.n, kPrimes[1]);
                     u64* out = call.room<u64>(s.n);
                     call.run = [=, &t] {
                       t.torus_round(x, s.n, 2, kPrimes, kInverses, bits, out);
                     };
                   }});
  cases.push_back({"shifted_rows", kernels.name, [&t](Call& call, const Shape& s) {
                     const u32* x = call.secret<u32>("x", kDegree, kPrime);
                     double* out = call.room<double>(3 * s.n);
                     call.run = [=, &t] { t.shifted_rows(x, 1, kDegree, -5, 7, 3, s.n, out); };
                   }});
  cases.push_back({"reduce_products", kernels.name, [&t](Call& call, const Shape& s) {
                     const double* x = call.secret<double>("x", s.n, u64{1} << 53);
                     u32* out = call.room<u32>(s.n);
                     call.run = [=, &t] { t.reduce_products(x, s.n, kPrime, out); };
                   }});
  cases.push_back({"crt_signed", kernels.name, [&t](Call& call, const Shape& s) {
                     const int bits = s.bits > 63 ? 63 : s.bits;
                     const u32* x = call.secret<u32>("x", 2 * s.n, kPrimes[1]);
                     u64* out = call.room<u64>(s.n);
                     call.run = [=, &t] { t.crt_signed(x, s.n, 2, kPrimes, bits, out); };
                   }});
}

void samplers(std::vector<Case>& cases, const Kernels& kernels) {
  const SamplerKernels& t = kernels.samplers;
  cases.push_back({"sample_ternary", kernels.name, [&t](Call& call, const Shape& s) {
                     const u64* words = call.secret<u64>("words", s.n);
                     i8* out = call.room<i8>(4 * s.n);
                     call.run = [=, &t] { t.sample_ternary(words, s.n, out); };
                   }});
  cases.push_back({"sample_binomial", kernels.name, [&t](Call& call, const Shape& s) {
                     const u64* words = call.secret<u64>("words", s.n);
                     i8* out = call.room<i8>(s.n);
                     call.run = [=, &t] { t.sample_binomial(words, s.n, out); };
                   }});
  // Nothing of it is secret: rejection shows in the time, and may.
  cases.push_back({"uniform_residues", kernels.name, [&t](Call& call, const Shape& s) {
                     const u32* words = call.open<u32>("words", 2 * s.n);
                     u32* out = call.room<u32>(s.n);
                     call.run = [=, &t] { t.uniform_residues(words, 2 * s.n, kPrime, s.n, out); };
                   }});
}

}  // namespace

std::vector<Case> rlwe_cases() {
  std::vector<const Kernels*> usable{&rlwe_portable()};
  const Processor processor;
  if (processor.avx2) usable.push_back(&rlwe_avx2());
  if (processor.avx512) usable.push_back(&rlwe_avx512());
  std::vector<Case> cases;
  for (const Kernels* kernels : usable) {
    transforms(cases, *kernels);
    products(cases, *kernels);
    convolutions(cases, *kernels);
    lifts(cases, *kernels);
    rounding(cases, *kernels);
    samplers(cases, *kernels);
  }
  return cases;
}

}  // namespace moiety::harness
