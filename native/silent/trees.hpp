// Half-trees: correlated GGM trees, whole or punctured. reference/silent.py specifies them. Their
// leaves are the noise of the code's outputs, so they are made a tree at a time, and the code is
// added while they lie in the first-level cache.
#pragma once

#include "silent/blocks.hpp"
#include "silent/code.hpp"

namespace moiety {

// `count` trees of 2^depth leaves over F_2^width, width 1 or 4: see `last_level` of the
// specification.
struct Trees {
  const u8* keys;
  std::size_t count;
  int depth;
  int width;

  // Blocks of a tree's sums.
  std::size_t levels() const { return static_cast<std::size_t>(depth + (width == 4)); }
  // Blocks of its checks.
  std::size_t checks() const {
    const auto levels = static_cast<std::size_t>(depth);
    return width == 1 ? levels * (levels - 1) / 2 : (levels - 1) * (levels - 2) / 2 + 2 * levels;
  }
  // Some of them.
  Trees part(Range at) const { return {keys + 16 * at.start, at.size(), depth, width}; }
};

// Arguments checked. `scratch` holds a tree's leaves.
struct TreeKernels {
  void (*tree_sums)(const Trees& trees, const u8* offset, const u8* roots, u8* scratch, u8* sums);
  void (*expand_full)(const Trees& trees, const u8* offset, const u8* roots, const u8* seeds,
                      const Code& code, u8* rows, u8* checks);
  void (*expand_punctured)(const Trees& trees, const u16* holes, const u8* sums, const u8* seeds,
                           const Code& code, u8* rows, u8* checks);
};

#if defined(MOIETY_LOOPS)
namespace {

constexpr int kTreeVectors = 4;  // of nodes in flight
constexpr std::size_t kTreeStep = kTreeVectors * kB;
constexpr std::size_t kFetchFrom = 16;  // trees whose outputs read most of the seeds

// H(x) = AES(sigma(x)) ^ sigma(x); with Last also of x ^ 1.
template <bool Last>
MOIETY_INLINE void tree_hash(const Schedule& key, const Reg (&nodes)[kTreeVectors],
                             Reg (&left)[kTreeVectors], Reg (&right)[kTreeVectors]) {
  Reg mixed[kTreeVectors];
  MOIETY_UNROLL
  for (int i = 0; i < kTreeVectors; i++) left[i] = mixed[i] = sigma(nodes[i]);
  if constexpr (Last) {
    // sigma is linear: flipping the lowest bit of x flips that of the high half.
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

MOIETY_INLINE Block sum_of(const u8* blocks, std::size_t n) {
  Block sum = _mm_setzero_si128();
  for (std::size_t i = 0; i < n; i++) sum = mix(sum, load_block(blocks + 16 * i));
  return sum;
}

// Of those whose number has this bit.
MOIETY_INLINE Block sum_with_bit(const u8* blocks, std::size_t n, int bit) {
  Block sum = _mm_setzero_si128();
  for (std::size_t i = 0; i < n; i++) {
    if (i >> bit & 1) sum = mix(sum, load_block(blocks + 16 * i));
  }
  return sum;
}

// XORs of the children of one side: of all, and for every bit of their parents' numbers of those
// that have it. The lowest bits say which lane and which vector of a step a child is in, the others
// are the step's.
class Family {
 public:
  // Children of the parents from number `step * kTreeStep` on.
  template <bool ByBits>
  MOIETY_INLINE void add(std::size_t step, const Reg (&x)[kTreeVectors]) {
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) vectors_[i] = V::bxor(vectors_[i], x[i]);
    if (!ByBits) return;
    const Reg all = V::bxor(V::bxor(x[0], x[1]), V::bxor(x[2], x[3]));
    for (int bit = 0; step >> bit != 0; bit++) {
      if (step >> bit & 1) steps_[bit] = V::bxor(steps_[bit], all);
    }
  }

  MOIETY_INLINE Block sum() const { return V::fold(all()); }

  // A block for each of `count` bits.
  MOIETY_INLINE void by_bits(int count, u8* to) const {
    alignas(64) u8 lanes[kVecBytes];
    V::store(lanes, all());
    int bit = 0;
    for (; 1 << bit < kB; bit++) store_block(to + 16 * bit, sum_with_bit(lanes, kB, bit));
    store_block(to + 16 * bit++, V::fold(V::bxor(vectors_[1], vectors_[3])));
    store_block(to + 16 * bit++, V::fold(V::bxor(vectors_[2], vectors_[3])));
    for (int i = 0; bit < count; bit++, i++) store_block(to + 16 * bit, V::fold(steps_[i]));
  }

 private:
  MOIETY_INLINE Reg all() const {
    return V::bxor(V::bxor(vectors_[0], vectors_[1]), V::bxor(vectors_[2], vectors_[3]));
  }

  static constexpr int kMost = 14;  // bits of a step's number, in trees of 2^16 leaves
  Reg vectors_[kTreeVectors] = {}, steps_[kMost] = {};
};

// A level in place: `m` nodes at the front of `nodes` become 2m children, from the back. Returns
// the XOR of either side. With Checked, the level's checks go to `checks`: see `check_blocks` of
// the specification.
template <bool Last, bool Checked>
MOIETY_INLINE Sides grow(const Schedule& key, u8* nodes, int level, u8* checks) {
  const std::size_t m = std::size_t{1} << level;
  u8* of_right = checks + 16 * (level + 1);
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
    for (std::size_t i = 0; i < m; i++) {
      store_block(nodes + 32 * i, load_block(l + 16 * i));
      store_block(nodes + 32 * i + 16, load_block(r + 16 * i));
    }
    const Sides sums{sum_of(l, m), sum_of(r, m)};
    if constexpr (Checked) {
      for (int bit = 0; bit < level; bit++) {
        store_block(checks + 16 * (Last + bit), sum_with_bit(l, m, bit));
        if (Last) store_block(of_right + 16 * (Last + bit), sum_with_bit(r, m, bit));
      }
      if (Last) store_block(checks, sums.left), store_block(of_right, sums.right);
    }
    return sums;
  }
  Family lefts, rights;
  for (std::size_t at = m; at > 0;) {  // m is a power of two, hence a multiple of the step
    at -= kTreeStep;
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) x[i] = V::load(nodes + 16 * at + i * kVecBytes);
    tree_hash<Last>(key, x, left, right);
    lefts.add<Checked>(at / kTreeStep, left);
    rights.add<Checked && Last>(at / kTreeStep, right);
    MOIETY_UNROLL
    for (int i = 0; i < kTreeVectors; i++) {
      V::interleave(left[i], right[i]);
      V::store(nodes + 32 * at + 2 * i * kVecBytes, left[i]);
      V::store(nodes + 32 * at + (2 * i + 1) * kVecBytes, right[i]);
    }
  }
  const Sides sums{lefts.sum(), rights.sum()};
  if constexpr (Checked) {
    lefts.by_bits(level, checks + 16 * Last);
    if (Last) {
      store_block(checks, sums.left), store_block(of_right, sums.right);
      rights.by_bits(level, of_right + 16);
    }
  }
  return sums;
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

// The same for the sums by bits of the children of one side, to which `change` was XORed.
MOIETY_INLINE void repair_checks(u8* checks, int bits, u64 parent, const Block change) {
  for (int bit = 0; bit < bits; bit++) {
    const Block has = _mm_set1_epi64x(-static_cast<long long>(parent >> bit & 1));
    u8* at = checks + 16 * bit;
    store_block(at, mix(load_block(at), _mm_and_si128(change, has)));
  }
}

// A tree's leaves; the XOR of the left nodes of its levels goes to `sums`, then, where the last
// level is hashed, that of its right leaves.
template <bool Hashed, bool Checked>
MOIETY_NOINLINE void grow_full(const u8* key, const Block offset, const u8* root_at, int depth,
                               u8* nodes, u8* sums, u8* checks) {
  Schedule schedule;
  expand_key(key, schedule);
  const Block root = load_block(root_at);
  store_block(nodes, root);
  store_block(nodes + 16, mix(root, offset));
  store_block(sums, root);
  const int correlated = depth - Hashed;
  for (int level = 1; level < correlated; checks += 16 * level++) {
    const Sides made = grow<false, Checked>(schedule, nodes, level, checks);
    store_block(sums + 16 * level, made.left);
  }
  if constexpr (Hashed) {
    const Sides last = grow<true, Checked>(schedule, nodes, correlated, checks);
    store_block(sums + 16 * correlated, last.left);
    store_block(sums + 16 * depth, last.right);
  }
}

template <bool Hashed>
MOIETY_NOINLINE void grow_punctured(const u8* key, u64 hole, const u8* sums, int depth, u8* nodes,
                                    u8* checks) {
  Schedule schedule;
  expand_key(key, schedule);
  store_block(nodes, load_block(sums));
  store_block(nodes + 16, load_block(sums));
  const int correlated = depth - Hashed;
  for (int level = 1; level < correlated; checks += 16 * level++) {
    const Sides made = grow<false, true>(schedule, nodes, level, checks);
    const Block change = mix(load_block(sums + 16 * level), made.left);
    const u64 parent = hole >> (depth - level);
    repair(nodes, std::size_t{2} << level, parent, {change, change});
    repair_checks(checks, level, parent, change);
  }
  if constexpr (Hashed) {
    const Sides made = grow<true, true>(schedule, nodes, correlated, checks);
    const Block goes_right = _mm_set1_epi64x(-static_cast<long long>(hole & 1));
    const Block all = mix(made.left, made.right);
    const Block sibling =
        mix(mix(load_block(sums + 16 * correlated), made.right), _mm_and_si128(all, goes_right));
    const Block in_hole = mix(mix(load_block(sums + 16 * depth), all), sibling);
    const Block swap = _mm_and_si128(mix(sibling, in_hole), goes_right);
    const Sides change{mix(in_hole, swap), mix(sibling, swap)};
    repair(nodes, std::size_t{2} << correlated, hole >> 1, change);
    // A number of one bit more, which is set, stands for the sum of all.
    const u64 parent = (hole >> 1) << 1 | 1;
    repair_checks(checks, depth, parent, change.left);
    repair_checks(checks + 16 * depth, depth, parent, change.right);
  }
}

template <int Width>
void sum_trees(const Trees& trees, const u8* offset, const u8* roots, u8* scratch, u8* sums) {
  for (std::size_t t = 0; t < trees.count; t++) {
    grow_full<Width == 4, false>(trees.keys + 16 * t, load_block(offset), roots + 16 * t,
                                 trees.depth, scratch, sums + 16 * trees.levels() * t, scratch);
  }
}

// Seeds are read in no order. In order they come from memory faster, so a call that reads most of
// them asks for all of them first.
MOIETY_INLINE void fetch(const u8* seeds, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t i = 0; i < bytes; i += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(seeds + i), _MM_HINT_T1);
  }
}

// Every tree's leaves by `grow(t, leaves)`, and the code's outputs on top of them: the same outputs
// for `Side` trees in a row, one of each instance.
template <int Width, int Side, class Grow>
void expand(const Trees& trees, const u8* seeds, const Code& code, u8* rows, Grow grow) {
  const Entries entries(code);
  const std::size_t leaves = std::size_t{1} << trees.depth;
  if (trees.count >= kFetchFrom) fetch(seeds, std::size_t{16} * Side * code.size);
  u64 start = code.start;
  for (std::size_t t = 0; t < trees.count; t += Side, start += leaves) {
    u8* at = rows + 16 * leaves * t;
    for (std::size_t side = 0; side < Side; side++) grow(t + side, at + 16 * leaves * side);
    encode_rows<Width, Side>(entries, seeds, start, leaves, at);
  }
}

template <int Width, class Grow>
void expand(const Trees& trees, const u8* seeds, const Code& code, u8* rows, Grow grow) {
  if (code.side == 1) {
    expand<Width, 1>(trees, seeds, code, rows, grow);
  } else {
    expand<Width, 2>(trees, seeds, code, rows, grow);
  }
}

template <int Width>
void expand_full(const Trees& trees, const u8* offset, const u8* roots, const u8* seeds,
                 const Code& code, u8* rows, u8* checks) {
  alignas(16) u8 sums[16 * 17];  // of one tree, not asked for
  const Block correlation = load_block(offset);
  expand<Width>(trees, seeds, code, rows, [&](std::size_t t, u8* leaves) {
    grow_full<Width == 4, true>(trees.keys + 16 * t, correlation, roots + 16 * t, trees.depth,
                                leaves, sums, checks + 16 * trees.checks() * t);
  });
}

template <int Width>
void expand_punctured(const Trees& trees, const u16* holes, const u8* sums, const u8* seeds,
                      const Code& code, u8* rows, u8* checks) {
  expand<Width>(trees, seeds, code, rows, [&](std::size_t t, u8* leaves) {
    grow_punctured<Width == 4>(trees.keys + 16 * t, holes[t], sums + 16 * trees.levels() * t,
                               trees.depth, leaves, checks + 16 * trees.checks() * t);
  });
}

void tree_sums(const Trees& trees, const u8* offset, const u8* roots, u8* scratch, u8* sums) {
  const auto run = trees.width == 1 ? sum_trees<1> : sum_trees<4>;
  run(trees, offset, roots, scratch, sums);
}

void expand_full(const Trees& trees, const u8* offset, const u8* roots, const u8* seeds,
                 const Code& code, u8* rows, u8* checks) {
  const auto run = trees.width == 1 ? expand_full<1> : expand_full<4>;
  run(trees, offset, roots, seeds, code, rows, checks);
}

void expand_punctured(const Trees& trees, const u16* holes, const u8* sums, const u8* seeds,
                      const Code& code, u8* rows, u8* checks) {
  const auto run = trees.width == 1 ? expand_punctured<1> : expand_punctured<4>;
  run(trees, holes, sums, seeds, code, rows, checks);
}

constexpr TreeKernels kTreeKernels{
    .tree_sums = tree_sums, .expand_full = expand_full, .expand_punctured = expand_punctured};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const TreeKernels& tree_kernels();  // of the instruction set in use

namespace {

Trees checked_trees(const Array& keys, u64 depth, u64 width) {
  const std::size_t count = rows_of(keys);
  check_range("depth", depth, 2, 16);
  check_width(width);
  return {checked<u8>("keys", keys, {kAny, 16}), count, static_cast<int>(depth),
          static_cast<int>(width)};
}

// Of seeds of one or two instances, whose trees alternate.
Code checked_code(const Array& key, u64 start, const Array& seeds, const Trees& trees) {
  Code code = checked_code(key, start, seeds.shape(0));
  if (seeds.shape(1) != 16 && seeds.shape(1) != 32) refuse("seeds must have 16 or 32 columns");
  code.side = static_cast<int>(seeds.shape(1) / 16);
  if (trees.count % code.side) refuse("trees of two instances must be as many of either");
  check_range("the last output", start + (trees.count / code.side << trees.depth), 0, kOutputs);
  return code;
}

// Of `leaf` nanoseconds each; `side` trees in a row stay together.
Work tree_work(const Trees& trees, double leaf, int side = 1) {
  return {trees.count, leaf * static_cast<double>(u64{1} << trees.depth),
          static_cast<std::size_t>(side)};
}

// The outputs of the trees from `tree` on.
Code code_of(const Code& code, const Trees& trees, std::size_t tree) {
  return code.from(tree / static_cast<std::size_t>(code.side) << trees.depth);
}

Out<u8> tree_sums(const Array& keys, const Array& offset, const Array& roots, u64 depth, u64 width,
                  Pool* pool) {
  const Trees trees = checked_trees(keys, depth, width);
  const u8* o = checked<u8>("offset", offset, {16});
  const u8* r = checked<u8>("roots", roots, {trees.count, 16});
  const TreeKernels& kernels = tree_kernels();
  const Output<u8> sums({trees.count, trees.levels(), 16});
  const Work work = tree_work(trees, 3);
  const std::size_t tree = std::size_t{16} << depth;
  std::vector<u8> scratch(tree * ranges(pool, work));
  without_gil(pool, work, [&](Range at) noexcept {
    kernels.tree_sums(trees.part(at), o, r + 16 * at.start, scratch.data() + tree * at.index,
                      sums.data() + 16 * trees.levels() * at.start);
  });
  return sums.array();
}

void expand_full(const Array& keys, const Array& offset, const Array& roots, u64 depth, u64 width,
                 const Array& seeds, const Array& code, u64 start, const Target& rows,
                 const Target& checks, Pool* pool) {
  const Trees trees = checked_trees(keys, depth, width);
  const u8* o = checked<u8>("offset", offset, {16});
  const u8* r = checked<u8>("roots", roots, {trees.count, 16});
  const u8* s = checked<u8>("seeds", seeds, {kAny, kAny});
  const Code c = checked_code(code, start, seeds, trees);
  u8* to = checked<u8>("rows", rows, {trees.count << depth, 16});
  check_apart("rows", rows, {&keys, &offset, &roots, &seeds, &code});
  u8* sums = checked<u8>("checks", checks, {trees.count, trees.checks(), 16});
  check_apart("checks", checks, {&keys, &offset, &roots, &seeds, &code});
  check_apart("checks", checks, rows);
  const TreeKernels& kernels = tree_kernels();
  without_gil(pool, tree_work(trees, 6, c.side), [&](Range at) noexcept {
    kernels.expand_full(trees.part(at), o, r + 16 * at.start, s, code_of(c, trees, at.start),
                        to + (16 * at.start << depth), sums + 16 * trees.checks() * at.start);
  });
}

void expand_punctured(const Array& keys, const Array& holes, const Array& sums, u64 depth,
                      u64 width, const Array& seeds, const Array& code, u64 start,
                      const Target& rows, const Target& checks, Pool* pool) {
  const Trees trees = checked_trees(keys, depth, width);
  const u16* h = checked<u16>("holes", holes, {trees.count});
  const u8* given = checked<u8>("sums", sums, {trees.count, trees.levels(), 16});
  if (exceeds(h, trees.count, trees.depth)) {
    refuse("holes must be below 2^" + std::to_string(depth));
  }
  const u8* s = checked<u8>("seeds", seeds, {kAny, kAny});
  const Code c = checked_code(code, start, seeds, trees);
  u8* to = checked<u8>("rows", rows, {trees.count << depth, 16});
  check_apart("rows", rows, {&keys, &holes, &sums, &seeds, &code});
  u8* made = checked<u8>("checks", checks, {trees.count, trees.checks(), 16});
  check_apart("checks", checks, {&keys, &holes, &sums, &seeds, &code});
  check_apart("checks", checks, rows);
  const TreeKernels& kernels = tree_kernels();
  without_gil(pool, tree_work(trees, 6, c.side), [&](Range at) noexcept {
    kernels.expand_punctured(trees.part(at), h + at.start, given + 16 * trees.levels() * at.start,
                             s, code_of(c, trees, at.start), to + (16 * at.start << depth),
                             made + 16 * trees.checks() * at.start);
  });
}

void bind_trees(nb::module_& m) {
  m.def("tree_sums", &tree_sums, "keys"_a, "offset"_a, "roots"_a, "depth"_a, "width"_a,
        pool_argument());
  m.def("expand_full", &expand_full, "keys"_a, "offset"_a, "roots"_a, "depth"_a, "width"_a,
        "seeds"_a, "code"_a, "start"_a, "rows"_a.noconvert(), "checks"_a.noconvert(),
        pool_argument());
  m.def("expand_punctured", &expand_punctured, "keys"_a, "holes"_a, "sums"_a, "depth"_a, "width"_a,
        "seeds"_a, "code"_a, "start"_a, "rows"_a.noconvert(), "checks"_a.noconvert(),
        pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
