// The symmetric kernels over a vector of AES blocks `V`. Each symmetric_<isa>.cpp defines `V` and includes this once,
// with its own compiler flags. Everything here has internal linkage, and nothing of the standard library but memcpy and
// memset is used: an inline function shared with other translation units could be merged into a copy that the processor
// cannot run.
//
// V must define:
//   kName, Reg, kBlocks (128-bit lanes of a Reg), load, store, bxor, xor3, band, add64, aesenc, aesenclast,
//   unpack_lo8, unpack_hi8
//   bcast(p)            a block to all lanes
//   set64(x), lo64(x)   x in both halves of every lane; in the low halves, zero above
//   count()             every lane's index in its low half
//   transpose8x8(x)     transposes the 8x8 bits of every 8 bytes; kReversed: it wants the rows last to first
//   store_lanes<S>      lane l to p + l*S
//   interleave(x, y)    all lanes x0 y0 x1 y1 .. to (x, y)
//   even_odd(x, y)      from lanes (x, y) in order to the even ones in x, the odd ones in y
//   spread<K>(p)        lane l holds block (2*l) >> K
//   store_low64, store_low8 (p, x, y)   the low 64 or 8 bits of lanes x0 y0 x1 y1 ..
#pragma once

#include "symmetric_aes.hpp"
#include "symmetric_vole.hpp"
#include "symmetric_lookup.hpp"
#include "symmetric_gates.hpp"

namespace moiety {
namespace {

constexpr SymmetricOps kOps{V::kName,    ctr,         ggm,        vole_receiver, vole_sender,
                            lookup_send, lookup_recv, arith_send, arith_recv,
                            leaves_send, leaves_recv, join_send,  mux_server,
                            mux_client};

}  // namespace
}  // namespace moiety
