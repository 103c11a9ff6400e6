// The Python module of the compiled kernels, `_native`. Every family binds its own; the twins of
// moiety/protocols/kernels/reference specify them.
#include <nanobind/nanobind.h>

namespace moiety {

void bind_symmetric(nanobind::module_& m);
void bind_rlwe(nanobind::module_& m);
void bind_silent(nanobind::module_& m);

}  // namespace moiety

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels; moiety.protocols.kernels.reference is their specification.";
  moiety::bind_symmetric(m);
  moiety::bind_rlwe(m);
  moiety::bind_silent(m);
}
