// The loops of the RLWE kernels (reference/rlwe.py) for AVX-512 (F, BW, DQ, VL, VPOPCNTDQ, VNNI).
#if defined(__x86_64__)
#define MOIETY_LOOPS "avx512"
#include "rlwe/family.hpp"

const moiety::RlweKernels& moiety::rlwe_avx512() { return kKernels; }
#endif
