// Python functions of the RLWE kernels, and the choice of their instruction set. reference/rlwe.py
// specifies them.
#define MOIETY_BINDINGS
#include "dispatch.hpp"
#include "rlwe/family.hpp"

namespace moiety {
namespace {

std::vector<const RlweKernels*> usable() {
  std::vector<const RlweKernels*> tables;
#if defined(__x86_64__)
  const Processor processor;
  if (processor.avx512) tables.push_back(&rlwe_avx512());
  if (processor.avx2) tables.push_back(&rlwe_avx2());
#endif
  tables.push_back(&rlwe_portable());
  return tables;
}

Dispatch<RlweKernels>& dispatch() {
  static Dispatch<RlweKernels> dispatch(usable());
  return dispatch;
}

}  // namespace

const ConvolutionKernels& convolution_kernels() { return dispatch().active().convolution; }
const NttKernels& ntt_kernels() { return dispatch().active().ntt; }
const ProductKernels& product_kernels() { return dispatch().active().products; }
const ResidueKernels& residue_kernels() { return dispatch().active().residues; }
const SamplerKernels& sampler_kernels() { return dispatch().active().samplers; }

void bind_rlwe(nb::module_& m) {
  dispatch().bind(m, "rlwe");
  bind_convolution(m);
  bind_ntt(m);
  bind_products(m);
  bind_residues(m);
  bind_samplers(m);
}

}  // namespace moiety
