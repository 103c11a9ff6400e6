// Silent-VOLE kernels: the table of functions that every instruction set implements.
// moiety/protocols/kernels/reference/silent.py specifies them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moiety {

inline constexpr int kDegree = 10;  // non-zero entries per output of the code

// The sparse code: `size` seeds, entries from the AES-CTR stream of `key`, outputs from `start`.
inline constexpr std::size_t kSeedSlack = 4;

struct Code {
  const std::uint8_t* key;
  std::uint64_t start;
  std::uint32_t size;
};

// Regular noise: `values[b]` at `holes[b]` of block b, blocks of 2^depth.
struct Noise {
  int depth;
  const std::uint16_t* holes;
  const std::uint8_t* values;
};

// Arguments are raw, checked by the caller. Shapes are those of silent_reference.py.
struct SilentOps {
  const char* name;
  void (*hash_blocks)(const std::uint8_t* blocks, std::size_t n, std::uint64_t tweak, std::uint8_t* out);
  void (*add_multiples)(std::uint8_t* target, const std::uint8_t* delta, const std::uint8_t* elements, std::size_t n);
  void (*tree_full)(const std::uint8_t* keys, const std::uint8_t* offset, const std::uint8_t* roots, std::size_t trees,
                    int depth, std::uint8_t* leaves, std::uint8_t* sums);
  void (*tree_punctured)(const std::uint8_t* keys, const std::uint16_t* holes, const std::uint8_t* sums,
                         std::size_t trees, int depth, std::uint8_t* leaves);
  void (*encode_blocks)(const std::uint8_t* seeds, const Code& code, std::size_t n, std::uint8_t* target);
  // `seeds` has kSeedSlack spare bytes after its end: single elements are gathered in wider words.
  void (*encode_nibbles)(const std::uint8_t* seeds, const Code& code, std::size_t n, const Noise& noise,
                         std::uint8_t* out);
};

#if defined(__x86_64__)
const SilentOps& silent_aesni();
const SilentOps& silent_vaes512();
#endif

}  // namespace moiety
