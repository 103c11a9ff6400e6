// RLWE kernels for any processor.
#include "rlwe_kernels.hpp"

namespace moiety {

const RlweOps& rlwe_portable() {
  static constexpr RlweOps ops = make_ops("portable");
  return ops;
}

}  // namespace moiety
