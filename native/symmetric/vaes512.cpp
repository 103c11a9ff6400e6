// The loops of the symmetric kernels. Four blocks at a time: VAES with AVX-512 (F, BW, DQ, VL) and
// GFNI.
#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector/vaes512.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#define MOIETY_LOOPS
#include "symmetric/family.hpp"

const moiety::SymmetricKernels& moiety::symmetric_vaes512() { return kKernels; }
#endif
