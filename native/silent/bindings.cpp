// Python functions of the silent-VOLE kernels, and the choice of their instruction set.
// reference/silent.py specifies them.
#define MOIETY_BINDINGS
#include "dispatch.hpp"
#include "silent/family.hpp"

namespace moiety {
namespace {

std::vector<const SilentKernels*> usable() {
  std::vector<const SilentKernels*> tables;
#if defined(__x86_64__)
  const Processor processor;
#if defined(MOIETY_VAES)
  if (processor.vaes512) tables.push_back(&silent_vaes512());
#endif
  if (processor.aesni) tables.push_back(&silent_aesni());
#endif
  return tables;
}

Dispatch<SilentKernels>& dispatch() {
  static Dispatch<SilentKernels> dispatch(usable());
  return dispatch;
}

}  // namespace

const BlockKernels& block_kernels() { return dispatch().active().blocks; }
const TreeKernels& tree_kernels() { return dispatch().active().trees; }
const CodeKernels& code_kernels() { return dispatch().active().code; }

void bind_silent(nb::module_& m) {
  dispatch().bind(m, "silent");
  bind_blocks(m);
  bind_trees(m);
  bind_code(m);
}

}  // namespace moiety
