// One block at a time: AES-NI with SSE4.1, the baseline of the compiled kernels.
#include "bitstream.hpp"
#include "symmetric.hpp"

#if defined(__x86_64__)
#include "vector_aesni.hpp"

namespace moiety {
namespace {
using V = Vector;
}
}  // namespace moiety

#include "symmetric_kernels.hpp"

const moiety::SymmetricOps& moiety::symmetric_aesni() { return kOps; }
#endif
