// Little-endian bit streams: what `pack` and `unpack` of reference/streams.py specify, field by
// field. 64 fields of any width fill whole bytes, so streams are written and read in groups of 64.
#pragma once

#if defined(__AVX512VBMI__)
#include <immintrin.h>
#endif

#include <cstring>

#include "common.hpp"

// Internal linkage: this header is compiled with different instruction sets, and the linker must
// not merge the copies.
namespace moiety {
namespace {

constexpr std::size_t kGroup = 64;

constexpr u64 low_mask(int bits) { return bits == 64 ? ~u64{0} : (u64{1} << bits) - 1; }

inline u64 load64(const u8* p) {
  u64 v;
  std::memcpy(&v, p, 8);
  return v;
}

inline void store64(u8* p, u64 v) { std::memcpy(p, &v, 8); }

// Writes up to 8 bytes past the end of the stream; the caller clears the spare bits with
// `finish_stream`.
class BitWriter {
 public:
  explicit BitWriter(u8* out) : out_(out) {}

  // bits <= 56, no bits of `value` above them.
  void put(u64 value, int bits) {
    pending_ |= value << fill_;
    fill_ += bits;
    store64(out_, pending_);
    out_ += fill_ >> 3;
    pending_ >>= fill_ & ~7;
    fill_ &= 7;
  }

  // bits <= 64.
  void put_wide(u64 value, int bits) {
    if (bits > 56) {
      put(value & 0xffffffffu, 32);
      put(value >> 32, bits - 32);
    } else {
      put(value, bits);
    }
  }

  // Where the next field begins, if that is a whole byte.
  u8* out() const { return out_; }

 private:
  u8* out_;
  u64 pending_ = 0;
  int fill_ = 0;
};

// Reads up to 16 bytes past the field: callers pad the last group.
inline u64 read_bits(const u8* data, std::size_t position, int bits) {
  const u8* p = data + (position >> 3);
  const int shift = static_cast<int>(position & 7);
  u64 v = load64(p) >> shift;
  if (bits > 56) v |= static_cast<u64>(p[8]) << 1 << (63 - shift);
  return v & low_mask(bits);
}

#if defined(__AVX512VBMI__)
// Eight fields of a register, no bits above them, as `bits` whole bytes; nothing is written past
// those. Of one width, which `takes` names.
class Eights {
 public:
  // A field and the bits before its first byte are a word, and a byte has parts of two at most.
  static constexpr bool takes(int bits) {
    return bits >= 8 && (bits <= 58 || bits == 60 || bits == 64);
  }

  explicit Eights(int bits) : written_(low_mask(bits)) {
    alignas(64) u64 by[8];
    alignas(64) u8 first[64] = {}, second[64] = {};
    for (int field = 0; field < 8; field++) {
      by[field] = static_cast<u64>(field * bits & 7);
      const int begin = field * bits / 8, end = ((field + 1) * bits + 7) / 8;
      for (int byte = begin; byte < end; byte++) {
        const bool shared = byte == begin && by[field] > 0;
        (shared ? second : first)[byte] = static_cast<u8>(8 * field + byte - begin);
        if (shared) shared_ |= u64{1} << byte;
      }
    }
    by_ = _mm512_load_si512(by);
    first_ = _mm512_load_si512(first), second_ = _mm512_load_si512(second);
  }

  void put(u8* out, __m512i fields) const {
    const __m512i placed = _mm512_sllv_epi64(fields, by_),
                  later = _mm512_maskz_mov_epi8(shared_, _mm512_permutexvar_epi8(second_, placed));
    _mm512_mask_storeu_epi8(out, written_,
                            _mm512_or_si512(_mm512_permutexvar_epi8(first_, placed), later));
  }

 private:
  u64 written_, shared_ = 0;  // bytes, and those that the end of a field and the next one share
  __m512i by_, first_, second_;
};
#endif

// A group's fields to the stream: neighbours are joined, two by two, as long as one step of the
// writer takes them. Eight are whole bytes, and begin anew, so that no step waits for those before.
// Fields from `have` on may fill the rest of an eight.
inline void put_group(const BitWriter& to, const u64* fields, std::size_t have, int bits) {
  alignas(64) u64 joined[2][kGroup / 2];
  std::size_t count = kGroup;
  int width = bits;
  for (bool turn = false; 2 * width <= 56; width *= 2, turn = !turn) {
    u64* wider = joined[turn];
    count /= 2;
    for (std::size_t i = 0; i < count; i++) wider[i] = fields[2 * i] | fields[2 * i + 1] << width;
    fields = wider;
  }
  u8* out = to.out();
  for (std::size_t at = 0; at * width < have * bits; at += 8, out += width) {
    BitWriter eight(out);
    if (width > 56 || count < 8) {
      for (std::size_t i = at; i < least(at + 8, count); i++) eight.put_wide(fields[i], width);
    } else {
      MOIETY_UNROLL
      for (int i = 0; i < 8; i++) eight.put(fields[at + i], width);
    }
  }
}

// Writes n fields, and up to 8 bytes past their end.
inline void pack64(const u64* values, std::size_t n, int bits, u8* out) {
  const u64 mask = low_mask(bits);
  BitWriter to(out);
  for (std::size_t i = 0; i < n; i++) to.put_wide(values[i] & mask, bits);
}

// Reads n fields, and up to 16 bytes past their end, or that of eight where n is no multiple.
inline void unpack64(const u8* from, std::size_t n, int bits, u64* out) {
  if (bits > 56) {
    for (std::size_t i = 0; i < n; i++) out[i] = read_bits(from, i * bits, bits);
    return;
  }
  const u64 mask = low_mask(bits);
#if defined(__AVX512VBMI__)
  // Eight fields are `bits` bytes: each word takes the eight bytes in which its field begins.
  const __m512i first =
      _mm512_mul_epu32(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(bits));
  const __m512i byte = _mm512_shuffle_epi8(_mm512_srli_epi64(first, 3),
                                           _mm512_set4_epi32(0x08080808, 0x08080808, 0, 0));
  const __m512i order = _mm512_add_epi8(byte, _mm512_set1_epi64(0x0706050403020100ll)),
                by = _mm512_and_si512(first, _mm512_set1_epi64(7)),
                field = _mm512_set1_epi64(static_cast<long long>(mask));
  const __mmask64 read = low_mask(bits + 8);
  for (std::size_t i = 0; i < n; i += 8, from += bits) {
    const __m512i words = _mm512_permutexvar_epi8(order, _mm512_maskz_loadu_epi8(read, from)),
                  fields = _mm512_and_si512(_mm512_srlv_epi64(words, by), field);
    if (n - i >= 8) {
      _mm512_storeu_si512(out + i, fields);
    } else {
      _mm512_mask_storeu_epi64(out + i, static_cast<__mmask8>((1u << (n - i)) - 1), fields);
    }
  }
#else
  for (std::size_t i = 0; i < n; i++)
    out[i] = load64(from + (i * bits >> 3)) >> (i * bits & 7) & mask;
#endif
}

// Calls `read(bytes, first, count)` for groups of fields of which 16 bytes past the end may be
// read.
template <class Read>
void groups(const u8* data, std::size_t n, int bits, Read read) {
  constexpr std::size_t kStep = 4096;
  std::size_t at = 0;
  const std::size_t margin = (128 + bits - 1) / bits;
  for (; at + kStep + margin <= n; at += kStep) read(data + at / 8 * bits, at, kStep);
  const std::size_t rest = (n * bits + 7) / 8 - at / 8 * bits;
  u8 padded[(kStep + 128) * 8 + 16];
  if (rest > 0) std::memcpy(padded, data + at / 8 * bits, rest);
  std::memset(padded + rest, 0, 16);
  read(padded, at, n - at);
}

inline void finish_stream(u8* stream, std::size_t nbits) {
  if (nbits & 7) stream[nbits >> 3] &= static_cast<u8>((1u << (nbits & 7)) - 1);
}

}  // namespace
}  // namespace moiety
