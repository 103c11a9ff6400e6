// Calls of the silent-VOLE kernels. What is public: the trees' keys, the code and its positions,
// the elements by which a secret is multiplied; all else is secret, holes too.
#include "call.hpp"
#include "processor.hpp"
#include "silent/family.hpp"

namespace moiety::harness {
namespace {

using Kernels = SilentKernels;
constexpr int kDepth = 5;

void blocks(std::vector<Case>& cases, const Kernels& kernels) {
  const BlockKernels& t = kernels.blocks;
  cases.push_back({"hash_blocks", kernels.name, [&t](Call& call, const Shape& s) {
                     const u8 *from = call.secret<u8>("blocks", 16 * s.n),
                              *key = call.open<u8>("key", 16);
                     u8* out = call.room<u8>(16 * s.n);
                     call.run = [=, &t] { t.hash_blocks(from, s.n, key, out); };
                   }});
  cases.push_back({"add_multiples", kernels.name, [&t](Call& call, const Shape& s) {
                     u8* target = call.secret<u8>("target", 16 * s.n);
                     const u8 *delta = call.secret<u8>("delta", 16),
                              *elements = call.open<u8>("elements", s.n, 16);
                     call.run = [=, &t] { t.add_multiples(target, delta, elements, s.n); };
                   }});
}

struct Forest {
  Trees trees;
  Code code;
  const u8* seeds;
  u8 *rows, *checks;
};

Forest forest(Call& call, const Shape& s) {
  constexpr u32 kSize = 77;
  const int side = 1 + s.n % 2;
  const std::size_t count = side * (1 + s.n / 64 / side);
  const Trees trees{call.open<u8>("keys", 16 * count), count, kDepth, s.k == 1 ? 1 : 4};
  return {trees,
          {call.open<u8>("code", 16), 3, kSize, side},
          call.secret<u8>("seeds", std::size_t{16} * side * kSize),
          call.room<u8>(16 * count << kDepth),
          call.room<u8>(16 * trees.checks() * count)};
}

void trees(std::vector<Case>& cases, const Kernels& kernels) {
  const TreeKernels& t = kernels.trees;
  cases.push_back({"tree_sums", kernels.name, [&t](Call& call, const Shape& s) {
                     const Forest f = forest(call, s);
                     const u8* offset = call.secret<u8>("offset", 16);
                     const u8* roots = call.secret<u8>("roots", 16 * f.trees.count);
                     u8 *scratch = call.room<u8>(16 << kDepth),
                        *sums = call.room<u8>(f.trees.count * 16 * 17);
                     call.run = [=, &t] { t.tree_sums(f.trees, offset, roots, scratch, sums); };
                   }});
  cases.push_back({"expand_full", kernels.name, [&t](Call& call, const Shape& s) {
                     const Forest f = forest(call, s);
                     const u8* offset = call.secret<u8>("offset", 16);
                     const u8* roots = call.secret<u8>("roots", 16 * f.trees.count);
                     call.run = [=, &t] {
                       t.expand_full(f.trees, offset, roots, f.seeds, f.code, f.rows, f.checks);
                     };
                   }});
  cases.push_back(
      {"expand_punctured", kernels.name, [&t](Call& call, const Shape& s) {
         const Forest f = forest(call, s);
         const u16* holes = call.secret<u16>("holes", f.trees.count, 1 << kDepth);
         const u8* sums = call.secret<u8>("sums", 16 * f.trees.levels() * f.trees.count);
         call.run = [=, &t] {
           t.expand_punctured(f.trees, holes, sums, f.seeds, f.code, f.rows, f.checks);
         };
       }});
}

void code(std::vector<Case>& cases, const Kernels& kernels) {
  const CodeKernels& t = kernels.code;
  cases.push_back({"encode_elements", kernels.name, [&t](Call& call, const Shape& s) {
                     constexpr u32 kSize = 77;
                     constexpr std::size_t kInstances = 2;
                     const std::size_t count = ((s.n + 3) >> kDepth) + 1;
                     const int width = s.k == 1 ? 1 : 4;
                     const u8* seeds = call.secret<u8>("seeds", kSize);
                     const Code made{call.open<u8>("code", 16), 3, kSize};
                     const Noise noise{
                         kDepth, kInstances, count,
                         call.secret<u16>("holes", kInstances * count, 1 << kDepth),
                         call.secret<u8>("values", kInstances * count, u64{1} << width)};
                     u8* out = call.room<u8>(s.n);
                     call.run = [=, &t] { t.encode_elements(seeds, made, width, s.n, noise, out); };
                   }});
}

}  // namespace

std::vector<Case> silent_cases() {
  std::vector<const Kernels*> usable;
  const Processor processor;
  if (processor.aesni) usable.push_back(&silent_aesni());
#if defined(MOIETY_VAES)
  if (processor.vaes512) usable.push_back(&silent_vaes512());
#endif
  std::vector<Case> cases;
  for (const Kernels* kernels : usable) {
    blocks(cases, *kernels);
    trees(cases, *kernels);
    code(cases, *kernels);
  }
  return cases;
}

}  // namespace moiety::harness
