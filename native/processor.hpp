// What the processor can run.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace moiety {

// The groups of instructions that files are compiled for (CMakeLists.txt): which of them run here.
struct Processor {
  bool aesni = false, vaes256 = false, vaes512 = false, avx2 = false, avx512 = false;

  Processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    aesni = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
            __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    vaes256 =
        aesni && has_vaes() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    vaes512 =
        vaes256 && wide && __builtin_cpu_supports("gfni") && __builtin_cpu_supports("avx512vbmi");
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && wide && __builtin_cpu_supports("avx512vpopcntdq") &&
             __builtin_cpu_supports("avx512vnni");
#endif
  }

 private:
#if defined(__x86_64__)
  // Leaf 7, bits 9 and 10 of ecx (VAES, VPCLMULQDQ): not every compiler's builtin knows them.
  static bool has_vaes() {
    unsigned a, b, c = 0, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 9 & 3) == 3;
  }
#endif
};

}  // namespace moiety
