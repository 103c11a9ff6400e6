// Symmetric kernels: the table of functions that every instruction set implements.
// moiety/protocols/kernels/reference/symmetric.py specifies them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moiety {

// Public AES keys of the fixed-key constructions, as in reference.py.
inline constexpr char kHashKey[] = "moiety hash key.";
inline constexpr char kTreeKeys[2][17] = {"moiety tree left", "moiety treeright"};

inline constexpr int kTrees = 32;
inline constexpr int kLeaves = 16;

struct Lookup {
  int k;                // 2^k options
  int bits;             // of a field
  std::uint64_t tweak;  // of element 0
  std::size_t n;        // elements
};

enum class Table { kGiven, kLess, kLessEqual };  // lookup's table, or the comparison of a digit with the option's index

// Arguments are raw and checked by the caller; shapes are those of reference.py. Outputs are written in whole vectors,
// and so past their end: see kSlack in arguments.hpp.
struct SymmetricOps {
  const char* name;
  void (*ctr)(const std::uint8_t* key, std::uint64_t counter, std::size_t nbytes, std::uint8_t* out);
  void (*ggm)(const std::uint8_t* seeds, std::size_t m, std::uint8_t* out);
  void (*vole_receiver)(const std::uint8_t* keys, std::uint64_t counter, int k, std::size_t nblocks, std::uint8_t* u,
                        std::uint8_t* v, std::uint8_t* corrections);
  void (*vole_sender)(const std::uint8_t* keys, const std::uint8_t* delta, std::uint64_t counter, int k,
                      std::size_t nblocks, const std::uint8_t* corrections, std::uint8_t* w);
  // `source` is the table (n, 2^k) for kGiven, else the digits (n,).
  void (*lookup_send)(const Lookup& lookup, Table kind, const std::uint8_t* w, const std::uint8_t* delta,
                      const std::uint8_t* shifts, const std::uint8_t* source, std::uint8_t* messages,
                      std::uint8_t* share);
  void (*lookup_recv)(const Lookup& lookup, const std::uint8_t* v, const std::uint8_t* choices,
                      const std::uint8_t* messages, std::uint8_t* share);
  void (*arith_send)(const Lookup& lookup, const std::uint8_t* w, const std::uint8_t* delta, const std::uint8_t* shifts,
                     const std::uint64_t* table, std::uint8_t* messages, std::uint64_t* share);
  void (*arith_recv)(const Lookup& lookup, const std::uint8_t* v, const std::uint8_t* choices,
                     const std::uint8_t* messages, std::uint64_t* share);
  // gates_reference.py; `job.bits` is the width of a field.
  void (*leaves_send)(const Lookup& job, int count, bool with_eq, const std::uint8_t* w, const std::uint8_t* delta,
                      const std::uint8_t* shifts, const std::uint8_t* digits, std::uint8_t* messages,
                      std::uint8_t* share);
  void (*leaves_recv)(const Lookup& job, int count, bool with_eq, const std::uint8_t* v, const std::uint8_t* choices,
                      const std::uint8_t* messages, std::uint8_t* share);
  void (*join_send)(const Lookup& job, const std::uint8_t* w, const std::uint8_t* delta, const std::uint8_t* shifts,
                    const std::uint8_t* own, const std::uint8_t* function, std::uint8_t* messages,
                    std::uint8_t* share);
  void (*mux_server)(const Lookup& job, int in_bits, const std::uint8_t* w, const std::uint8_t* delta,
                     const std::uint8_t* shifts, const std::uint64_t* x, const std::uint8_t* gate,
                     const std::uint8_t* flip, std::uint8_t* messages, std::uint64_t* share);
  void (*mux_client)(const Lookup& job, int in_bits, const std::uint8_t* w, const std::uint8_t* delta,
                     const std::uint8_t* shifts, const std::uint64_t* x, const std::uint8_t* gate,
                     std::uint8_t* messages, std::uint64_t* share);
};

#if defined(__x86_64__)
const SymmetricOps& symmetric_aesni();
const SymmetricOps& symmetric_vaes256();
const SymmetricOps& symmetric_vaes512();
#endif

}  // namespace moiety
