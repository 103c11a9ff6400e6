// Two blocks at a time: VAES with AVX2, for processors without AVX-512.
#include "bitstream.hpp"
#include "symmetric.hpp"

#if defined(__x86_64__) && defined(MOIETY_VAES)
#include "vector_vaes256.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#include "symmetric_kernels.hpp"

const moiety::SymmetricOps& moiety::symmetric_vaes256() { return kOps; }
#endif
