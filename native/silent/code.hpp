// The sparse code, for blocks and for single elements. reference/silent.py specifies it.
#pragma once

#include "silent/blocks.hpp"

namespace moiety {

inline constexpr int kDegree = 10;  // entries per output of the code
// Entries that are summed before the sum is multiplied by X, over F_16: see `GRADES`.
inline constexpr int kGrades[4] = {2, 2, 3, 3};

// `size` seeds, entries from the AES-CTR stream of `key`, outputs from `start`. Each seed is `side`
// blocks, one of every instance that the outputs are made for.
struct Code {
  const u8* key;
  u64 start;
  u32 size;
  int side = 1;

  // Its outputs from number `at` on.
  Code from(std::size_t at) const { return {key, start + at, size, side}; }
};

// Regular noise of `count` instances: instance i has `values[i*blocks + b]` at `holes[i*blocks +
// b]` of block b, blocks of 2^depth.
struct Noise {
  int depth;
  std::size_t count, blocks;
  const u16* holes;
  const u8* values;
};

// n outputs over F_2^width, width 1 or 4, arguments checked.
struct CodeKernels {
  void (*encode_elements)(const u8* seeds, const Code& code, int width, std::size_t n,
                          const Noise& noise, u8* out);
};

#if defined(MOIETY_LOOPS)
namespace {

// Outputs whose entries are made at once, and fill whole vectors.
constexpr std::size_t kGroupRows = 16;
constexpr std::size_t kGroupEntries = kGroupRows * kDegree;

// The code's entries, a group at a time.
class Entries {
 public:
  explicit Entries(const Code& code) : size_(V::set64(code.size)) {
    expand_key(code.key, schedule_);
  }

  // Byte offsets of seeds of `1 << Log` bytes: word x of the key stream has position x*size >> 32.
  template <int Log>
  MOIETY_INLINE void make(u64 group, u32* offsets) const {
    constexpr int N = 10;
    const u64 block = group * (kGroupEntries / 4);
    for (std::size_t at = 0; at < kGroupEntries / 4; at += N * kB) {
      Reg state[N];
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) state[i] = counters(block + at + i * kB);
      encrypt(schedule_, state);
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) {
        const Reg even = V::times32(state[i], size_);
        const Reg odd = V::times32(V::template right64<32>(state[i]), size_);
        const Reg position = V::odd32(V::template right64<32>(even), odd);
        V::store(offsets + 4 * (at + i * kB), V::template left32<Log>(position));
      }
    }
  }

 private:
  Schedule schedule_;
  Reg size_;
};

// Offset j of ten. Two are loaded at once: loads are what bounds the code.
MOIETY_INLINE u32 offset_at(const u32* offsets, int j) {
  u64 two;
  std::memcpy(&two, offsets + (j & ~1), sizeof two);
  return static_cast<u32>(two >> (j & 1 ? 32 : 0));
}

// Seeds of one instance, or of two side by side: `Side` blocks each.
template <int Side>
struct Seed;

template <>
struct Seed<1> {
  using Reg = Block;
  static MOIETY_INLINE Reg load(const u8* p) { return load_block(p); }
  static MOIETY_INLINE Reg sum(Reg a, Reg b) { return mix(a, b); }
  static MOIETY_INLINE void add_to(u8* rows, std::size_t, Reg x) {
    store_block(rows, mix(x, load_block(rows)));
  }
};

template <>
struct Seed<2> {
  using Reg = V::Pair;
  static MOIETY_INLINE Reg load(const u8* p) { return V::load_pair(p); }
  static MOIETY_INLINE Reg sum(Reg a, Reg b) { return V::bxor(a, b); }
  static MOIETY_INLINE void add_to(u8* rows, std::size_t apart, Reg x) {
    store_block(rows, mix(V::first(x), load_block(rows)));
    store_block(rows + apart, mix(V::second(x), load_block(rows + apart)));
  }
};

// One group's outputs, added to `rows`; the instances' rows lie `apart` bytes apart.
template <int Width, int Side>
MOIETY_INLINE void encode_group(const u8* seeds, const u32* offsets, u8* rows, std::size_t apart) {
  using Seed = Seed<Side>;
  for (std::size_t r = 0; r < kGroupRows; r++) {
    const u32* entries = offsets + kDegree * r;
    const auto term = [&](int j) { return Seed::load(seeds + offset_at(entries, j)); };
    typename Seed::Reg sum = term(0);
    int j = 1;
    MOIETY_UNROLL
    for (int grade = 0; grade < 4; grade++) {
      if (Width == 4 && grade > 0) sum = V::times_x(sum);
      MOIETY_UNROLL
      for (int i = grade == 0; i < kGrades[grade]; i++) sum = Seed::sum(sum, term(j++));
    }
    Seed::add_to(rows + 16 * r, apart, sum);
  }
}

// Adds the n outputs from `start` on to `rows`.
template <int Width, int Side>
void encode_rows(const Entries& entries, const u8* seeds, u64 start, std::size_t n, u8* rows) {
  constexpr int kLog = Side == 1 ? 4 : 5;
  alignas(64) u32 offsets[kGroupEntries];
  alignas(64) u8 edge[Side * 16 * kGroupRows];
  const u64 end = start + n;
  for (u64 group = start / kGroupRows; group * kGroupRows < end; group++) {
    entries.make<kLog>(group, offsets);
    const u64 first = group * kGroupRows;
    if (first >= start && first + kGroupRows <= end) {
      encode_group<Width, Side>(seeds, offsets, rows + 16 * (first - start), 16 * n);
      continue;
    }
    std::memset(edge, 0, sizeof edge);
    encode_group<Width, Side>(seeds, offsets, edge, 16 * kGroupRows);
    for (std::size_t r = 0; r < kGroupRows; r++) {
      if (first + r < start || first + r >= end) continue;
      for (std::size_t side = 0; side < Side; side++) {
        u8* row = rows + 16 * (side * n + first + r - start);
        store_block(row, mix(load_block(row), load_block(edge + 16 * (side * kGroupRows + r))));
      }
    }
  }
}

// One instance's. Every element of a block is read and written: its hole is secret.
void add_noise(u64 start, std::size_t n, const Noise& noise, std::size_t instance, u8* out) {
  const u16* holes = noise.holes + instance * noise.blocks;
  const u8* values = noise.values + instance * noise.blocks;
  const u64 end = start + n;
  for (u64 block = start >> noise.depth; block << noise.depth < end; block++) {
    const u64 first = block << noise.depth, next = (block + 1) << noise.depth;
    const u32 from = first < start ? static_cast<u32>(start - first) : 0;
    const u32 to = static_cast<u32>((next < end ? next : end) - first);
    const u32 hole = holes[block], value = values[block];
    u8* elements = out + (first + from - start);
    for (u32 i = from; i < to; i++) {
      const u32 here = ((i ^ hole) - 1) >> 31;  // 1 where i == hole: both are at most 2^16
      elements[i - from] ^= static_cast<u8>(value & -here);
    }
  }
}

// Eight outputs, a byte each. They are shifted into one register, because compilers gather bytes
// into vectors at a high price; over F_16 into one for each grade, to be multiplied together.
template <int Width>
MOIETY_INLINE u64 eight_elements(const u8* seeds, const u32* offsets) {
  constexpr int kSums = Width == 1 ? 1 : 4;
  u64 sums[kSums] = {};
  MOIETY_UNROLL
  for (int r = 7; r >= 0; r--) {
    const u32* entries = offsets + kDegree * r;
    int j = 0;
    MOIETY_UNROLL
    for (int g = 0; g < kSums; g++) {
      const int terms = Width == 1 ? kDegree : kGrades[g];
      u64 sum = 0;
      MOIETY_UNROLL
      for (int i = 0; i < terms; i++) sum ^= seeds[offset_at(entries, j++)];
      sums[g] = sums[g] << 8 | sum;
    }
  }
  u64 all = sums[0];
  MOIETY_UNROLL
  for (int g = 1; g < kSums; g++) {
    const u64 carries = all >> 3 & 0x1111111111111111ull;
    all = (all << 1 & 0xeeeeeeeeeeeeeeeeull) ^ carries * 3 ^ sums[g];
  }
  return all;
}

template <int Width>
void encode_elements(const u8* seeds, const Code& code, std::size_t n, u8* out) {
  const Entries entries(code);
  alignas(64) u32 offsets[kGroupEntries];
  const u64 end = code.start + n;
  for (u64 group = code.start / kGroupRows; group * kGroupRows < end; group++) {
    entries.make<0>(group, offsets);
    const u64 both[2] = {eight_elements<Width>(seeds, offsets),
                         eight_elements<Width>(seeds, offsets + 8 * kDegree)};
    u8 elements[kGroupRows];
    std::memcpy(elements, both, kGroupRows);
    const u64 first = group * kGroupRows;
    if (first >= code.start && first + kGroupRows <= end) {
      std::memcpy(out + (first - code.start), elements, kGroupRows);
      continue;
    }
    for (std::size_t r = 0; r < kGroupRows; r++) {
      if (first + r >= code.start && first + r < end) out[first + r - code.start] = elements[r];
    }
  }
}

void encode_elements(const u8* seeds, const Code& code, int width, std::size_t n,
                     const Noise& noise, u8* out) {
  const auto run = width == 1 ? encode_elements<1> : encode_elements<4>;
  run(seeds, code, n, out);
  for (std::size_t i = 0; i < noise.count; i++) add_noise(code.start, n, noise, i, out);
}

constexpr CodeKernels kCode{.encode_elements = encode_elements};

}  // namespace
#elif defined(MOIETY_BINDINGS)

const CodeKernels& code_kernels();  // of the instruction set in use

namespace {

// Of a code.
constexpr u64 kOutputs = u64{1} << 40;

void check_width(u64 width) {
  if (width != 1 && width != 4) refuse("width must be 1 or 4, got " + std::to_string(width));
}

Code checked_code(const Array& key, u64 start, std::size_t size) {
  const u8* k = checked<u8>("code", key, {16});
  check_range("start", start, 0, kOutputs);
  check_range("size", size, 1, u64{1} << 20);
  return {k, start, static_cast<u32>(size)};
}

Out<u8> encode_elements(const Array& seeds, const Array& code, u64 start, u64 n, u64 depth,
                        u64 width, const Array& holes, const Array& values, Pool* pool) {
  const u8* from = checked<u8>("seeds", seeds, {kAny});
  const Code c = checked_code(code, start, seeds.shape(0));
  check_range("depth", depth, 0, 16);
  check_width(width);
  const std::size_t count = rows_of(holes), blocks = holes.ndim() == 2 ? holes.shape(1) : 0;
  const Noise noise{.depth = static_cast<int>(depth),
                    .count = count,
                    .blocks = blocks,
                    .holes = checked<u16>("holes", holes, {kAny, kAny}),
                    .values = checked<u8>("values", values, {count, blocks})};
  check_range("n", n, 0, u64{1} << 32);
  check_range("start + n", start + n, 0,
              least(kOutputs, elements_of({blocks, u64{1} << depth}, 1)));
  const CodeKernels& kernels = code_kernels();
  const Output<u8> out({n});
  without_gil(pool, {n, 2}, [&](Range at) noexcept {
    kernels.encode_elements(from, c.from(at.start), static_cast<int>(width), at.size(), noise,
                            out.data() + at.start);
  });
  return out.array();
}

void bind_code(nb::module_& m) {
  m.def("encode_elements", &encode_elements, "seeds"_a, "code"_a, "start"_a, "n"_a, "depth"_a,
        "width"_a, "holes"_a, "values"_a, pool_argument());
}

}  // namespace
#endif

}  // namespace moiety
