// Marks the secrets of every kernel as undefined, and counts what a tool then reports while it
// runs: branches and addresses that depend on them. Under valgrind's memcheck it runs what that
// knows (up to AVX2); built by clang with MemorySanitizer it needs no valgrind.
//
//     constant_time [--planted] ISA ..      a line a kernel: KERNEL ISA REPORTS SECRETS
#include <cstdio>
#include <cstring>

#include "call.hpp"

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define MOIETY_MSAN
#endif
#endif

#if defined(MOIETY_MSAN)
#include <sanitizer/msan_interface.h>

static unsigned reported = 0;
// The sanitizer's own hook, called for each report.
extern "C" void __sanitizer_report_error_summary(const char*) { reported++; }
#else
#include <valgrind/memcheck.h>
#endif

namespace moiety::harness {
namespace {

#if defined(MOIETY_MSAN)
constexpr bool watched() { return true; }
unsigned count() { return reported; }
void undefine(void* data, std::size_t bytes) { __msan_poison(data, bytes); }
void define(void* data, std::size_t bytes) { __msan_unpoison(data, bytes); }
#else
bool watched() { return RUNNING_ON_VALGRIND; }
unsigned count() { return VALGRIND_COUNT_ERRORS; }
void undefine(void* data, std::size_t bytes) { VALGRIND_MAKE_MEM_UNDEFINED(data, bytes); }
void define(void* data, std::size_t bytes) { VALGRIND_MAKE_MEM_DEFINED(data, bytes); }
#endif

unsigned reports(const Case& each, const Shape& shape) {
  Random random(1);
  Call call(random);
  each.make(call, shape);
  for (const Call::Secret& secret : call.secrets()) undefine(secret.data, secret.bytes);
  const unsigned before = count();
  call.run();
  const unsigned found = count() - before;
  for (const Call::Secret& secret : call.secrets()) define(secret.data, secret.bytes);
  return found;
}

std::string secrets(const Case& each) {
  Random random(1);
  Call call(random);
  each.make(call, {1, 1, 1});
  std::string names;
  for (const Call::Secret& secret : call.secrets())
    names += (names.empty() ? "" : ",") + std::string(secret.name);
  return names.empty() ? "-" : names;
}

int main(int argc, char** argv) {
  bool planted = false;
  for (int i = 1; i < argc; i++) {
    planted = planted || std::strcmp(argv[i], "--planted") == 0;
  }
  if (!watched()) {
    std::fputs("neither valgrind nor MemorySanitizer: nothing would be seen\n", stderr);
    return 2;
  }
  // Every width of a correlation and both ways to write fields; sizes around a group and a half.
  const Shape shapes[] = {{67, 1, 8}, {130, 2, 13}, {67, 3, 60}, {130, 4, 64}, {5, 4, 7}};
  for (const Case& each : planted ? planted_cases() : all_cases()) {
    bool asked = planted;
    for (int i = 1; i < argc; i++) asked = asked || each.isa == argv[i];
    if (!asked) continue;
    unsigned found = 0;
    for (const Shape& shape : shapes) found += reports(each, shape);
    std::printf("%s %s %u %s\n", each.kernel.c_str(), each.isa.c_str(), found,
                secrets(each).c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace moiety::harness

int main(int argc, char** argv) { return moiety::harness::main(argc, argv); }
