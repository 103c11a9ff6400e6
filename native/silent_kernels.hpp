// The silent-VOLE kernels over a vector of AES blocks `V`. Each silent_<isa>.cpp defines `V` and includes this once,
// with its own compiler flags. Everything here has internal linkage, and nothing of the standard library but memcpy and
// memset is used: an inline function shared with other translation units could be merged into a copy the processor
// cannot run.
//
// V, besides what symmetric_aes.hpp needs: band, swap64 (64-bit halves of every lane), high (low halves cleared),
// equal64, parents (lane indices / 2), fold (XOR of all lanes), split (words of the key stream to entries of the code),
// products (single elements times coefficients, as polynomials that are not reduced, summed over the terms of 16
// outputs) and Scale (blocks times coefficients).
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"  // its keystream and doubling generator are not needed here
#include "symmetric_aes.hpp"
#pragma GCC diagnostic pop

namespace moiety {
namespace {

using u16 = std::uint16_t;
using u32 = std::uint32_t;

constexpr std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

// --- hash -----------------------------------------------------------------------------------------------------------

void hash_blocks(const u8* blocks, std::size_t n, u64 tweak, u8* out) {
  constexpr int N = 4;
  constexpr std::size_t kStep = N * kB;
  Schedule key;
  expand_key(kHashKey, key);
  alignas(64) u8 buffer[N * kVecBytes] = {};
  for (std::size_t at = 0; at < n; at += kStep) {
    const std::size_t bytes = 16 * least(kStep, n - at);
    std::memcpy(buffer, blocks + 16 * at, bytes);
    Reg once[N], state[N];
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) once[i] = V::load(buffer + i * kVecBytes);
    encrypt(key, once);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) state[i] = V::bxor(once[i], V::add64(V::lo64(tweak + at + i * kB), V::count()));
    encrypt(key, state);
    MOIETY_UNROLL
    for (int i = 0; i < N; i++) V::store(buffer + i * kVecBytes, V::bxor(state[i], once[i]));
    std::memcpy(out + 16 * at, buffer, bytes);
  }
}

// --- products -------------------------------------------------------------------------------------------------------

using Block = __m128i;

MOIETY_INLINE Block load_block(const u8* p) { return _mm_loadu_si128(reinterpret_cast<const Block*>(p)); }
MOIETY_INLINE void store_block(u8* p, Block x) { _mm_storeu_si128(reinterpret_cast<Block*>(p), x); }
MOIETY_INLINE Block mix(Block a, Block b) { return _mm_xor_si128(a, b); }

void add_multiples(u8* target, const u8* delta, const u8* elements, std::size_t n) {
  alignas(16) u8 multiples[16][16] = {};
  Block power = load_block(delta);
  const Block top = _mm_set1_epi8(0x11), rest = _mm_set1_epi8(static_cast<char>(0xee));
  for (int bit = 0; bit < 4; bit++) {
    const int half = 1 << bit;
    for (int x = 0; x < half; x++) store_block(multiples[half + x], mix(power, load_block(multiples[x])));
    const Block carry = _mm_and_si128(_mm_srli_epi64(power, 3), top);
    power = mix(_mm_and_si128(_mm_add_epi8(power, power), rest), mix(carry, _mm_add_epi8(carry, carry)));
  }
  for (std::size_t i = 0; i < n; i++) {
    store_block(target + 16 * i, mix(load_block(target + 16 * i), load_block(multiples[elements[i]])));
  }
}

// --- half-trees -----------------------------------------------------------------------------------------------------

constexpr int kTreeVectors = 4;  // of nodes in flight
constexpr std::size_t kTreeStep = kTreeVectors * kB;

// H(x) = AES(s(x)) ^ s(x), s(low, high) = (high, low ^ high); with Last also of x ^ 1.
template <bool Last>
MOIETY_INLINE void tree_hash(const Schedule& key, const Reg (&nodes)[kTreeVectors], Reg (&left)[kTreeVectors],
                             Reg (&right)[kTreeVectors]) {
  Reg mixed[kTreeVectors];
  MOIETY_UNROLL
  for (int i = 0; i < kTreeVectors; i++) left[i] = mixed[i] = V::bxor(V::swap64(nodes[i]), V::high(nodes[i]));
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

// A level in place: `m` nodes at the front of `nodes` become 2m children, from the back. Returns the XOR of either
// side.
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
    for (int i = 0; i < kTreeVectors; i++) V::store(l + i * kVecBytes, left[i]), V::store(r + i * kVecBytes, right[i]);
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

// XORs `change` to the children of node `parent`, a secret index: every child of the level is read and written.
MOIETY_INLINE void repair(u8* children, std::size_t n, u64 parent, Sides change) {
  alignas(64) u8 pattern[2 * kVecBytes];
  for (int i = 0; i < 2 * kB; i++) store_block(pattern + 16 * i, i & 1 ? change.right : change.left);
  const Reg even = V::load(pattern), odd = V::load(pattern + kVecBytes);
  const Reg wanted = V::set64(parent);
  for (std::size_t i = 0; i < n; i += kB) {
    const Reg here = V::equal64(V::parents(i), wanted);
    u8* at = children + 16 * i;
    V::store(at, V::bxor(V::load(at), V::band(here, i & 1 ? odd : even)));
  }
}

void tree_full(const u8* keys, const u8* offset, const u8* roots, std::size_t trees, int depth, u8* leaves, u8* sums) {
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

void tree_punctured(const u8* keys, const u16* holes, const u8* sums, std::size_t trees, int depth, u8* leaves) {
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
    const Block sibling = mix(mix(load_block(sum + 16 * (depth - 1)), made.right), _mm_and_si128(all, goes_right));
    const Block in_hole = mix(mix(load_block(sum + 16 * depth), all), sibling);
    const Block swap = _mm_and_si128(mix(sibling, in_hole), goes_right);
    repair(nodes, 2 * m, hole >> 1, {mix(in_hole, swap), mix(sibling, swap)});
  }
}

// --- the code -------------------------------------------------------------------------------------------------------

constexpr std::size_t kGroupRows = 16;  // outputs whose entries are interleaved: word 16*j + r is term j of output r
constexpr std::size_t kGroupEntries = kGroupRows * kDegree;

// The code's entries, a group at a time.
class Entries {
 public:
  explicit Entries(const Code& code) : size_(V::set64(code.size)) { expand_key(code.key, schedule_); }

  // Byte offsets of seeds of `1 << Log` bytes, and coefficients.
  template <int Log>
  MOIETY_INLINE void make(u64 group, u32* offsets, u32* coefficients) const {
    constexpr int N = 10;
    const u64 block = group * (kGroupEntries / 4);
    for (std::size_t at = 0; at < kGroupEntries / 4; at += N * kB) {
      Reg state[N];
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) state[i] = V::add64(V::lo64(block + at + i * kB), V::count());
      encrypt(schedule_, state);
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) {
        const std::size_t to = 4 * (at + i * kB);
        V::template split<Log>(state[i], size_, offsets + to, coefficients + to);
      }
    }
  }

 private:
  Schedule schedule_;
  Reg size_;
};

void encode_blocks(const u8* seeds, const Code& code, std::size_t n, u8* target) {
  const Entries entries(code);
  const typename V::Scale scale;
  alignas(64) u32 offsets[kGroupEntries], coefficients[kGroupEntries];
  alignas(64) u8 edge[16 * kGroupRows];
  const u64 end = code.start + n;
  for (u64 group = code.start / kGroupRows; group * kGroupRows < end; group++) {
    entries.make<4>(group, offsets, coefficients);
    const u64 first = group * kGroupRows;
    const bool whole = first >= code.start && first + kGroupRows <= end;
    u8* rows = whole ? target + 16 * (first - code.start) : edge;
    if (!whole) std::memset(edge, 0, sizeof edge);
    for (std::size_t r = 0; r < kGroupRows; r += kB) {
      Reg sum = V::load(rows + 16 * r);
      MOIETY_UNROLL
      for (int j = 0; j < kDegree; j++) {
        const std::size_t e = kGroupRows * j + r;
        sum = V::bxor(sum, scale(seeds, offsets + e, coefficients + e));
      }
      V::store(rows + 16 * r, sum);
    }
    if (!whole) {
      for (std::size_t r = 0; r < kGroupRows; r++) {
        if (first + r < code.start || first + r >= end) continue;
        u8* row = target + 16 * (first + r - code.start);
        store_block(row, mix(load_block(row), load_block(edge + 16 * r)));
      }
    }
  }
}

// Every element of a block is read and written: its hole is secret.
void add_noise(u64 start, std::size_t n, const Noise& noise, u8* out) {
  const u64 end = start + n;
  for (u64 block = start >> noise.depth; block << noise.depth < end; block++) {
    const u64 first = block << noise.depth, next = (block + 1) << noise.depth;
    const u32 from = first < start ? static_cast<u32>(start - first) : 0;
    const u32 to = static_cast<u32>((next < end ? next : end) - first);
    const u32 hole = noise.holes[block], value = noise.values[block];
    u8* elements = out + (first + from - start);
    for (u32 i = from; i < to; i++) {
      const u32 here = ((i ^ hole) - 1) >> 31;  // 1 where i == hole: both are at most 2^16
      elements[i - from] ^= static_cast<u8>(value & -here);
    }
  }
}

void encode_nibbles(const u8* seeds, const Code& code, std::size_t n, const Noise& noise, u8* out) {
  const Entries entries(code);
  alignas(64) u32 offsets[kGroupEntries], coefficients[kGroupEntries], sums[kGroupRows];
  const u64 end = code.start + n;
  for (u64 group = code.start / kGroupRows; group * kGroupRows < end; group++) {
    entries.make<0>(group, offsets, coefficients);
    V::products(seeds, offsets, coefficients, sums);
    u8 elements[kGroupRows];
    for (std::size_t r = 0; r < kGroupRows; r++) {
      const u32 high = sums[r] >> 4 & 7;
      elements[r] = static_cast<u8>((sums[r] ^ high ^ high << 1) & 15);  // X^4 = X + 1
    }
    const u64 first = group * kGroupRows;
    if (first >= code.start && first + kGroupRows <= end) {
      std::memcpy(out + (first - code.start), elements, kGroupRows);
    } else {
      for (std::size_t r = 0; r < kGroupRows; r++) {
        if (first + r >= code.start && first + r < end) out[first + r - code.start] = elements[r];
      }
    }
  }
  add_noise(code.start, n, noise, out);
}

constexpr SilentOps kOps{V::kName,       hash_blocks,   add_multiples, tree_full,
                         tree_punctured, encode_blocks, encode_nibbles};

}  // namespace
}  // namespace moiety
