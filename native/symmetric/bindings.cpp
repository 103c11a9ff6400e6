// Python functions of the symmetric kernels, and the choice of their instruction set.
// reference/{symmetric,gates,digits,streams,masked,columns,polynomials}.py specify them.
#define MOIETY_BINDINGS
#include "dispatch.hpp"
#include "symmetric/family.hpp"

namespace moiety {
namespace {

std::vector<const SymmetricKernels*> usable() {
  std::vector<const SymmetricKernels*> tables;
#if defined(__x86_64__)
  const Processor processor;
#if defined(MOIETY_VAES)
  if (processor.vaes512) tables.push_back(&symmetric_vaes512());
  if (processor.vaes256) tables.push_back(&symmetric_vaes256());
#endif
  if (processor.aesni) tables.push_back(&symmetric_aesni());
#endif
  return tables;
}

Dispatch<SymmetricKernels>& dispatch() {
  static Dispatch<SymmetricKernels> dispatch(usable());
  return dispatch;
}

}  // namespace

const PrgKernels& prg_kernels() { return dispatch().active().prg; }
const VoleKernels& vole_kernels() { return dispatch().active().vole; }
const LookupKernels& lookup_kernels() { return dispatch().active().lookup; }
const GateKernels& gate_kernels() { return dispatch().active().gates; }
const DigitKernels& digit_kernels() { return dispatch().active().digits; }
const StreamKernels& stream_kernels() { return dispatch().active().streams; }
const MaskedKernels& masked_kernels() { return dispatch().active().masked; }
const ColumnKernels& column_kernels() { return dispatch().active().columns; }
const PolynomialKernels& polynomial_kernels() { return dispatch().active().polynomials; }

void bind_symmetric(nb::module_& m) {
  dispatch().bind(m, "symmetric");
  m.def(
      "symmetric_supported", [] { return dispatch().supported(); },
      "Whether the processor has AES instructions.");
  bind_prg(m);
  bind_vole(m);
  bind_lookup(m);
  bind_gates(m);
  bind_digits(m);
  bind_streams(m);
  bind_masked(m);
  bind_columns(m);
  bind_polynomials(m);
}

}  // namespace moiety
