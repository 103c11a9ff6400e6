// Half-trees: correlated GGM trees, whole or punctured. reference/silent.py specifies them.
#pragma once

#include "silent/blocks.hpp"

namespace moiety {

// `trees` trees of 2^depth leaves each, arguments checked.
struct TreeKernels {
  void (*tree_full)(const u8* keys, const u8* offset, const u8* roots, std::size_t trees, int depth,
                    u8* leaves, u8* sums);
  void (*tree_punctured)(const u8* keys, const u16* holes, const u8* sums, std::size_t trees,
                         int depth, u8* leaves);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr int kTreeVectors = 4;  // of nodes in flight
constexpr std::size_t kTreeStep = kTreeVectors * kB;

// H(x) = AES(s(x)) ^ s(x), s(low, high) = (high, low ^ high); with Last also of x ^ 1.
template <bool Last>
MOIETY_INLINE void tree_hash(const Schedule& key, const Reg (&nodes)[kTreeVectors],
                             Reg (&left)[kTreeVectors], Reg (&right)[kTreeVectors]) {
  Reg mixed[kTreeVectors];
  MOIETY_UNROLL
  for (int i = 0; i < kTreeVectors; i++)
    left[i] = mixed[i] = V::bxor(V::swap64(nodes[i]), V::high(nodes[i]));
  if constexpr (Last) {
    // s is linear: flipping the lowest bit of x flips that of the high half.
    const Reg flip = V::high(V::set64(1));
    Reg both[2 * kTreeVectors];
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) {
      both[2 * i] = mixed[i];
      both[2 * i + 1] = V::bxor(mixed[i], flip);
    }
    encrypt(key, both);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) {
      left[i] = V::bxor(both[2 * i], mixed[i]);
      right[i] = V::bxor(both[2 * i + 1], V::bxor(mixed[i], flip));
    }
  } else {
    encrypt(key, left);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) {
      left[i] = V::bxor(left[i], mixed[i]);
      right[i] = V::bxor(left[i], nodes[i]);
    }
  }
}

struct Sides {
  Block left, right;
};

// A level in place: `m` nodes at the front of `nodes` become 2m children, from the back. Returns
// the XOR of either side.
template <bool Last>
MOIETY_INLINE Sides grow(const Schedule& key, u8* nodes, std::size_t m) {
  Reg x[kTreeVectors], left[kTreeVectors], right[kTreeVectors];
  if (m < kTreeStep) {
    alignas(64) u8 few[kTreeStep * 16] = {}, l[kTreeStep * 16], r[kTreeStep * 16];
    std::memcpy(few, nodes, 16 * m);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) x[i] = V::load(few + i * kVecBytes);
    tree_hash<Last>(key, x, left, right);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++)
      V::store(l + i * kVecBytes, left[i]), V::store(r + i * kVecBytes, right[i]);
    Sides sums{_mm_setzero_si128(), _mm_setzero_si128()};
    for (std::size_t i = 0; i < m; i++) {
      const Block a = load_block(l + 16 * i), b = load_block(r + 16 * i);
      sums.left = mix(sums.left, a), sums.right = mix(sums.right, b);
      store_block(nodes + 32 * i, a), store_block(nodes + 32 * i + 16, b);
    }
    return sums;
  }
  Reg left_sum = V::lo64(0), right_sum = V::lo64(0);
  for (std::size_t at = m; at > 0;) {  // m is a power of two, hence a multiple of the step
    at -= kTreeStep;
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) x[i] = V::load(nodes + 16 * at + i * kVecBytes);
    tree_hash<Last>(key, x, left, right);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) {
      left_sum = V::bxor(left_sum, left[i]);
      right_sum = V::bxor(right_sum, right[i]);
      V::interleave(left[i], right[i]);
      V::store(nodes + 32 * at + 2 * i * kVecBytes, left[i]);
      V::store(nodes + 32 * at + (2 * i + 1) * kVecBytes, right[i]);
    }
  }
  return {V::fold(left_sum), V::fold(right_sum)};
}

// XORs `change` to the children of node `parent`, a secret index: every child of the level is read
// and written.
MOIETY_INLINE void repair(u8* children, std::size_t n, u64 parent, Sides change) {
  alignas(64) u8 pattern[2 * kVecBytes];
  for (int i = 0; i < 2 * kB; i++)
    store_block(pattern + 16 * i, i & 1 ? change.right : change.left);
  const Reg even = V::load(pattern), odd = V::load(pattern + kVecBytes);
  const Reg wanted = V::set64(parent);
  for (std::size_t i = 0; i < n; i += kB) {
    const Reg here = V::equal64(V::parents(i), wanted);
    u8* at = children + 16 * i;
    V::store(at, V::bxor(V::load(at), V::band(here, i & 1 ? odd : even)));
  }
}

void tree_full(const u8* keys, const u8* offset, const u8* roots, std::size_t trees, int depth,
               u8* leaves, u8* sums) {
  for (std::size_t t = 0; t < trees; t++) {
    Schedule key;
    expand_key(keys + 16 * t, key);
    u8* nodes = leaves + (16 * t << depth);
    u8* sum = sums + 16 * (depth + 1) * t;
    const Block root = load_block(roots + 16 * t);
    store_block(nodes, root);
    store_block(nodes + 16, mix(root, load_block(offset)));
    store_block(sum, root);
    for (int level = 1; level < depth - 1; level++) {
      store_block(sum + 16 * level, grow<false>(key, nodes, std::size_t{1} << level).left);
    }
    const Sides last = grow<true>(key, nodes, std::size_t{1} << (depth - 1));
    store_block(sum + 16 * (depth - 1), last.left);
    store_block(sum + 16 * depth, last.right);
  }
}

void tree_punctured(const u8* keys, const u16* holes, const u8* sums, std::size_t trees, int depth,
                    u8* leaves) {
  for (std::size_t t = 0; t < trees; t++) {
    Schedule key;
    expand_key(keys + 16 * t, key);
    u8* nodes = leaves + (16 * t << depth);
    const u8* sum = sums + 16 * (depth + 1) * t;
    const u64 hole = holes[t];
    store_block(nodes, load_block(sum));
    store_block(nodes + 16, load_block(sum));
    for (int level = 1; level < depth - 1; level++) {
      const std::size_t m = std::size_t{1} << level;
      const Block change = mix(load_block(sum + 16 * level), grow<false>(key, nodes, m).left);
      repair(nodes, 2 * m, hole >> (depth - level), {change, change});
    }
    const std::size_t m = std::size_t{1} << (depth - 1);
    const Sides made = grow<true>(key, nodes, m);
    const Block goes_right = _mm_set1_epi64x(-static_cast<long long>(hole & 1));
    const Block all = mix(made.left, made.right);
    const Block sibling =
        mix(mix(load_block(sum + 16 * (depth - 1)), made.right), _mm_and_si128(all, goes_right));
    const Block in_hole = mix(mix(load_block(sum + 16 * depth), all), sibling);
    const Block swap = _mm_and_si128(mix(sibling, in_hole), goes_right);
    repair(nodes, 2 * m, hole >> 1, {mix(in_hole, swap), mix(sibling, swap)});
  }
}

constexpr TreeKernels kTreeKernels{.tree_full = tree_full, .tree_punctured = tree_punctured};

}  // namespace
#else

const TreeKernels& tree_kernels();  // of the instruction set in use

namespace {

// Keys (t, 16) and leaves (t << depth, 16) of t trees.
struct Trees {
  std::size_t count;
  const u8* keys;
  u8* leaves;

  Trees(const Array& keys_, u64 depth, const Target& leaves_)
      : count(rows_of(keys_)), keys(checked<u8>("keys", keys_, {kAny, 16})) {
    check_range("depth", depth, 2, 16);
    leaves = checked<u8>("leaves", leaves_, {count << depth, 16});
  }
};

Out<u8> tree_full(const Array& keys, const Array& offset, const Array& roots, u64 depth,
                  const Target& leaves) {
  const Trees trees(keys, depth, leaves);
  const u8* o = checked<u8>("offset", offset, {16});
  const u8* r = checked<u8>("roots", roots, {trees.count, 16});
  const TreeKernels& kernels = tree_kernels();
  const Output<u8> sums({trees.count, depth + 1, 16});
  without_gil([&] {
    kernels.tree_full(trees.keys, o, r, trees.count, static_cast<int>(depth), trees.leaves,
                      sums.data());
  });
  return sums.array();
}

void tree_punctured(const Array& keys, const Array& holes, const Array& sums, u64 depth,
                    const Target& leaves) {
  const Trees trees(keys, depth, leaves);
  const u16* h = checked<u16>("holes", holes, {trees.count});
  const u8* s = checked<u8>("sums", sums, {trees.count, depth + 1, 16});
  if (exceeds(h, trees.count, static_cast<int>(depth))) {
    refuse("holes must be below 2^" + std::to_string(depth));
  }
  const TreeKernels& kernels = tree_kernels();
  without_gil([&] {
    kernels.tree_punctured(trees.keys, h, s, trees.count, static_cast<int>(depth), trees.leaves);
  });
}

void bind_trees(nb::module_& m) {
  m.def("tree_full", &tree_full, "keys"_a, "offset"_a, "roots"_a, "depth"_a,
        "leaves"_a.noconvert());
  m.def("tree_punctured", &tree_punctured, "keys"_a, "holes"_a, "sums"_a, "depth"_a,
        "leaves"_a.noconvert());
}

}  // namespace
#endif

}  // namespace moiety
