// The symmetric kernels: the tables of all topics, once per instruction set.
// reference/{symmetric,gates,digits,streams,masked,columns,polynomials}.py specify them.
//
// A topic's file holds all of its kernels' native side: the table, the loops (compiled by the files
// that define MOIETY_LOOPS, each with the flags of one instruction set) and the Python functions
// (compiled once, by bindings.cpp). Loops have internal linkage: see vector/aes.hpp.
#pragma once

#include "symmetric/columns.hpp"
#include "symmetric/digits.hpp"
#include "symmetric/gates.hpp"
#include "symmetric/lookup.hpp"
#include "symmetric/masked.hpp"
#include "symmetric/polynomials.hpp"
#include "symmetric/prg.hpp"
#include "symmetric/streams.hpp"
#include "symmetric/vole.hpp"

namespace moiety {

struct SymmetricKernels {
  const char* name;
  PrgKernels prg;
  VoleKernels vole;
  LookupKernels lookup;
  GateKernels gates;
  DigitKernels digits;
  StreamKernels streams;
  MaskedKernels masked;
  ColumnKernels columns;
  PolynomialKernels polynomials;
};

#if defined(__x86_64__)
const SymmetricKernels& symmetric_aesni();
const SymmetricKernels& symmetric_vaes256();
const SymmetricKernels& symmetric_vaes512();
#endif

#if defined(MOIETY_LOOPS)
namespace {

constexpr SymmetricKernels kKernels{.name = V::kName,
                                    .prg = kPrg,
                                    .vole = kVole,
                                    .lookup = kLookup,
                                    .gates = kGates,
                                    .digits = kDigits,
                                    .streams = kStreams,
                                    .masked = kMasked,
                                    .columns = kColumns,
                                    .polynomials = kPolynomials};

}  // namespace
#endif

}  // namespace moiety
