// The width k of correlations, 1..4 bits, as a constant of the loops.
#pragma once

#include "common.hpp"

namespace moiety {
namespace {

// Calls f.operator()<k>().
template <class F>
MOIETY_INLINE void with_width(int k, F f) {
  switch (k) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    default:
      return f.template operator()<4>();
  }
}

}  // namespace
}  // namespace moiety
