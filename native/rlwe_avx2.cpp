// RLWE kernels compiled for avx2; empty on processors of another kind.
#if defined(__x86_64__)
#include "rlwe_kernels.hpp"

namespace moiety {

const RlweOps& rlwe_avx2() {
  static constexpr RlweOps ops = make_ops("avx2");
  return ops;
}

}  // namespace moiety
#endif
