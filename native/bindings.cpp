// Python module of the compiled kernels. Each family binds itself; loops live in the family's own files.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_symmetric(nb::module_& m);  // AES, PRG, hash, VOLE, transfers, bit packing
void bind_rlwe(nb::module_& m);       // NTT, modular arithmetic, samplers
void bind_silent(nb::module_& m);     // silent VOLE: half-trees, sparse code

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels; moiety.protocols.kernels.reference.symmetric is their specification.";
  bind_symmetric(m);
  bind_rlwe(m);
  bind_silent(m);
}
