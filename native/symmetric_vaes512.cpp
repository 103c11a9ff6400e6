// Four blocks at a time: VAES with AVX-512 (F, BW, DQ, VL) and GFNI.
#include "bitstream.hpp"
#include "symmetric.hpp"

#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector_vaes512.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#include "symmetric_kernels.hpp"

const moiety::SymmetricOps& moiety::symmetric_vaes512() { return kOps; }
#endif
