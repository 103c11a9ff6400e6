// The sparse code over F_16, for blocks and for single elements. reference/silent.py specifies it.
#pragma once

#include "silent/blocks.hpp"

namespace moiety {

inline constexpr int kDegree = 10;  // non-zero entries per output of the code
// Spare bytes after the end of single elements, which are gathered in wider words.
inline constexpr std::size_t kSeedSlack = 4;

// `size` seeds, entries from the AES-CTR stream of `key`, outputs from `start`.
struct Code {
  const u8* key;
  u64 start;
  u32 size;
};

// Regular noise: `values[b]` at `holes[b]` of block b, blocks of 2^depth.
struct Noise {
  int depth;
  const u16* holes;
  const u8* values;
};

// n outputs each, arguments checked.
struct CodeKernels {
  void (*encode_blocks)(const u8* seeds, const Code& code, std::size_t n, u8* target);
  void (*encode_nibbles)(const u8* seeds, const Code& code, std::size_t n, const Noise& noise,
                         u8* out);
};

#if defined(MOIETY_LOOPS)
namespace {

// Outputs whose entries are interleaved: word 16*j + r is term j of output r.
constexpr std::size_t kGroupRows = 16;
constexpr std::size_t kGroupEntries = kGroupRows * kDegree;

// Words of the key stream to entries of the code: word x has position x*size >> 32 and, f being the
// low 32 bits of x*size, coefficient 1 + (15*f >> 32). Positions are stored `<< Log`.
template <int Log>
MOIETY_INLINE void split(Reg words, Reg size, u32* offsets, u32* coefficients) {
  const Reg fifteen = V::set64(15);
  const Reg even = V::times32(words, size), odd = V::times32(V::template right64<32>(words), size);
  const Reg even_c = V::times32(even, fifteen), odd_c = V::times32(odd, fifteen);
  const Reg position = V::odd32(V::template right64<32>(even), odd);
  const Reg c = V::odd32(V::template right64<32>(even_c), odd_c);
  V::store(offsets, V::template left32<Log>(position));
  V::store(coefficients, V::add32(c, V::set64(0x0000000100000001ull)));
}

// The code's entries, a group at a time.
class Entries {
 public:
  explicit Entries(const Code& code) : size_(V::set64(code.size)) {
    expand_key(code.key, schedule_);
  }

  // Byte offsets of seeds of `1 << Log` bytes, and coefficients.
  template <int Log>
  MOIETY_INLINE void make(u64 group, u32* offsets, u32* coefficients) const {
    constexpr int N = 10;
    const u64 block = group * (kGroupEntries / 4);
    for (std::size_t at = 0; at < kGroupEntries / 4; at += N * kB) {
      Reg state[N];
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) state[i] = counters(block + at + i * kB);
      encrypt(schedule_, state);
      MOIETY_UNROLL
      for (int i = 0; i < N; i++) {
        const std::size_t to = 4 * (at + i * kB);
        split<Log>(state[i], size_, offsets + to, coefficients + to);
      }
    }
  }

 private:
  Schedule schedule_;
  Reg size_;
};

void encode_blocks(const u8* seeds, const Code& code, std::size_t n, u8* target) {
  const Entries entries(code);
  const V::Scale scale;
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
    V::template products<kDegree>(seeds, offsets, coefficients, sums);
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

constexpr CodeKernels kCode{.encode_blocks = encode_blocks, .encode_nibbles = encode_nibbles};

}  // namespace
#else

const CodeKernels& code_kernels();  // of the instruction set in use

namespace {

Code checked_code(const Array& key, u64 start, std::size_t size) {
  const u8* k = checked<u8>("key", key, {16});
  check_range("start", start, 0, u64{1} << 40);
  check_range("size", size, 1, u64{1} << 20);
  return {k, start, static_cast<u32>(size)};
}

void encode_blocks(const Array& seeds, const Array& key, u64 start, const Target& target) {
  const u8* from = checked<u8>("seeds", seeds, {kAny, 16});
  u8* to = checked<u8>("target", target, {kAny, 16});
  const Code code = checked_code(key, start, seeds.shape(0));
  const std::size_t n = target.shape(0);
  const CodeKernels& kernels = code_kernels();
  without_gil([&] { kernels.encode_blocks(from, code, n, to); });
}

Out<u8> encode_nibbles(const Array& seeds, const Array& key, u64 start, u64 n, u64 depth,
                       const Array& holes, const Array& values) {
  const u8* from = checked<u8>("seeds", seeds, {kAny});
  const Code code = checked_code(key, start, seeds.shape(0));
  check_range("depth", depth, 0, 16);
  const Noise noise{.depth = static_cast<int>(depth),
                    .holes = checked<u16>("holes", holes, {kAny}),
                    .values = checked<u8>("values", values, {rows_of(holes)})};
  check_range("n", n, 0, u64{1} << 32);
  check_range("start + n", start + n, 0, u64{holes.shape(0)} << depth);
  if (exceeds(from, code.size, 4)) refuse("seeds must be below 16");
  std::vector<u8> padded(code.size + kSeedSlack);
  std::copy_n(from, code.size, padded.begin());
  const CodeKernels& kernels = code_kernels();
  const Output<u8> out({n});
  without_gil([&] { kernels.encode_nibbles(padded.data(), code, n, noise, out.data()); });
  return out.array();
}

void bind_code(nb::module_& m) {
  m.def("encode_blocks", &encode_blocks, "seeds"_a, "key"_a, "start"_a, "target"_a.noconvert());
  m.def("encode_nibbles", &encode_nibbles, "seeds"_a, "key"_a, "start"_a, "n"_a, "depth"_a,
        "holes"_a, "values"_a);
}

}  // namespace
#endif

}  // namespace moiety
