// The RLWE kernels: the tables of all topics, once per instruction set. reference/rlwe.py specifies
// them. How a topic's file is divided is said in symmetric/family.hpp; the loops are plain C++ that
// compilers vectorise.
#pragma once

#include "rlwe/convolution.hpp"
#include "rlwe/ntt.hpp"
#include "rlwe/products.hpp"
#include "rlwe/residues.hpp"
#include "rlwe/samplers.hpp"

namespace moiety {

struct RlweKernels {
  const char* name;
  ConvolutionKernels convolution;
  NttKernels ntt;
  ProductKernels products;
  ResidueKernels residues;
  SamplerKernels samplers;
};

const RlweKernels& rlwe_portable();
#if defined(__x86_64__)
const RlweKernels& rlwe_avx2();
const RlweKernels& rlwe_avx512();
#endif

#if defined(MOIETY_LOOPS)
namespace {

constexpr RlweKernels kKernels{.name = MOIETY_LOOPS,
                               .convolution = kConvolution,
                               .ntt = kNtt,
                               .products = kProducts,
                               .residues = kResidues,
                               .samplers = kSamplers};

}  // namespace
#endif

}  // namespace moiety
