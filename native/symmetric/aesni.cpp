// The loops of the symmetric kernels. One block at a time: AES-NI with SSE4.1, the baseline of the
// compiled kernels.
#if defined(__x86_64__)
#include "vector/aesni.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#define MOIETY_LOOPS
#include "symmetric/family.hpp"

const moiety::SymmetricKernels& moiety::symmetric_aesni() { return kKernels; }
#endif
