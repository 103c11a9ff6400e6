// The loops of the symmetric kernels. Two blocks at a time: VAES with AVX2, for processors without
// AVX-512.
#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector/vaes256.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#define MOIETY_LOOPS
#include "symmetric/family.hpp"

const moiety::SymmetricKernels& moiety::symmetric_vaes256() { return kKernels; }
#endif
