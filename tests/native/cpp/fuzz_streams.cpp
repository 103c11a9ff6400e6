// libFuzzer over bit streams: what the peer sends is parsed as fields of any width. Every value is
// compared with a reading bit by bit, on every instruction set, from memory that ends with the
// bytes that may be read.
#include <cstdlib>
#include <memory>

#include "bitstream.hpp"
#include "processor.hpp"
#include "symmetric/family.hpp"

namespace {

using namespace moiety;

u64 field(const u8* data, std::size_t i, int bits) {
  u64 value = 0;
  for (int b = 0; b < bits; b++) {
    const std::size_t at = i * bits + b;
    value |= static_cast<u64>(data[at / 8] >> at % 8 & 1) << b;
  }
  return value;
}

void check(bool holds) {
  if (!holds) std::abort();
}

void words(const u8* data, std::size_t n, int bits) {
  const std::size_t bytes = (n * bits + 7) / 8;
  const std::unique_ptr<u64[]> out(new u64[n]);
  groups(data, n, bits, [&](const u8* from, std::size_t at, std::size_t count) {
    unpack64(from, count, bits, out.get() + at);
  });
  for (std::size_t i = 0; i < n; i++) check(out[i] == field(data, i, bits));
  const std::unique_ptr<u8[]> back(new u8[bytes + 8]());
  pack64(out.get(), n, bits, back.get());
  for (std::size_t i = 0; i < n; i++) check(field(back.get(), i, bits) == out[i]);
}

void octets(const StreamKernels& kernels, const u8* data, std::size_t n, int bits) {
  const std::size_t bytes = (n * bits + 7) / 8;
  const std::unique_ptr<u8[]> out(new u8[n + 8]), back(new u8[bytes + 8]());
  groups(data, n, bits, [&](const u8* from, std::size_t at, std::size_t count) {
    kernels.unpack8(from, count, bits, out.get() + at);
  });
  for (std::size_t i = 0; i < n; i++) check(out[i] == field(data, i, bits));
  const std::unique_ptr<u8[]> given(new u8[n]);
  std::memcpy(given.get(), out.get(), n);
  kernels.pack8(given.get(), n, bits, back.get());
  for (std::size_t i = 0; i < n; i++) check(field(back.get(), i, bits) == out[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  static const Processor processor;
  if (size < 2) return 0;
  const int bits = 1 + data[0] % 64;
  const std::size_t n = (size - 1) * 8 / bits;
  const std::size_t bytes = (n * bits + 7) / 8;
  const std::unique_ptr<u8[]> exact(new u8[bytes]);
  std::memcpy(exact.get(), data + 1, bytes);
  words(exact.get(), n, bits);
  if (bits > 8) return 0;
  if (processor.aesni) octets(symmetric_aesni().streams, exact.get(), n, bits);
#if defined(MOIETY_VAES)
  if (processor.vaes256) octets(symmetric_vaes256().streams, exact.get(), n, bits);
  if (processor.vaes512) octets(symmetric_vaes512().streams, exact.get(), n, bits);
#endif
  return 0;
}
