// Faults that the sanitizers must report: they prove that they can.
#include <cstdio>
#include <cstring>
#include <memory>

#include "common.hpp"

int main(int argc, char** argv) {
  using moiety::u8;
  const volatile std::size_t n = 16;
  const std::unique_ptr<u8[]> bytes(new u8[n]());
  if (argc > 1 && std::strcmp(argv[1], "overflow") == 0) {
    const volatile u8* at = bytes.get() + n;
    return *at ? 0 : 0;
  }
  const volatile int by = 40;
  return (1 << by) ? 0 : 0;
}
