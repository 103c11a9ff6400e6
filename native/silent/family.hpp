// The silent-VOLE kernels: the tables of all topics, once per instruction set. reference/silent.py
// specifies them. How a topic's file is divided is said in symmetric/family.hpp.
//
// V is a `Vector` (vector/aes.hpp) that has besides:
//   high(x)              the low half of every lane cleared
//   fold(x)              XOR of all lanes
//   parents(first)       lane indices / 2, from `first`, an index of the same parity as the lanes'
//   times32, left32, odd32   on 32-bit words: products of the even ones, 64 bits each; shifts; the
//                        even ones of x with the odd ones of y
//   Pair, load_pair, bxor, first, second   two blocks that lie side by side, and each of them
//   times_x(x)           nibbles, elements of F_16, times X: of a block, a pair, all lanes
#pragma once

#include "silent/blocks.hpp"
#include "silent/code.hpp"
#include "silent/trees.hpp"

namespace moiety {

struct SilentKernels {
  const char* name;
  BlockKernels blocks;
  TreeKernels trees;
  CodeKernels code;
};

#if defined(__x86_64__)
const SilentKernels& silent_aesni();
const SilentKernels& silent_vaes512();
#endif

#if defined(MOIETY_LOOPS)
namespace {

constexpr SilentKernels kKernels{
    .name = V::kName, .blocks = kBlockKernels, .trees = kTreeKernels, .code = kCode};

}  // namespace
#endif

}  // namespace moiety
