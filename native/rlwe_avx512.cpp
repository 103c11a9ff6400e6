// RLWE kernels compiled for avx512; empty on processors of another kind.
#if defined(__x86_64__)
#include "rlwe_kernels.hpp"

namespace moiety {

const RlweOps& rlwe_avx512() {
  static constexpr RlweOps ops = make_ops("avx512");
  return ops;
}

}  // namespace moiety
#endif
