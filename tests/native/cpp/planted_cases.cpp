// Leaks that the tools must find: they prove that the tools can.
#include "call.hpp"

namespace moiety::harness {
namespace {

volatile u64 sink;

// As an early exit of a comparison.
MOIETY_NOINLINE std::size_t equal_bytes(const u8* x, const u8* y, std::size_t n) {
  std::size_t i = 0;
  while (i < n && x[i] == y[i]) i++;
  return i;
}

// As one step more, of many.
MOIETY_NOINLINE u64 stepped(const u8* x, std::size_t n) {
  u64 sum = 1;
  for (std::size_t i = 0, steps = n + n / 32 * (x[0] != 0); i < steps; i++) sum += sum >> 3 ^ i;
  return sum;
}

// As a table of an S-box.
MOIETY_NOINLINE u64 looked_up(const u8* x, std::size_t n, const u64* table) {
  u64 sum = 0;
  for (std::size_t i = 0; i < n; i++) sum += table[x[i]];
  return sum;
}

}  // namespace

std::vector<Case> planted_cases() {
  return {
      {"planted_branch", "portable",
       [](Call& call, const Shape& s) {
         const u8* x = call.secret<u8>("x", s.n);
         const u8* y = call.room<u8>(s.n);
         call.run = [=] { sink = equal_bytes(x, y, s.n); };
       }},
      {"planted_steps", "portable",
       [](Call& call, const Shape& s) {
         const u8* x = call.secret<u8>("x", s.n);
         call.run = [=] { sink = stepped(x, s.n); };
       }},
      {"planted_index", "portable",
       [](Call& call, const Shape& s) {
         const u8* x = call.secret<u8>("x", s.n);
         const u64* table = call.open<u64>("table", 256);
         call.run = [=] { sink = looked_up(x, s.n, table); };
       }},
  };
}

}  // namespace moiety::harness
