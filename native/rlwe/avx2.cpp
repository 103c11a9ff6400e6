// The loops of the RLWE kernels (reference/rlwe.py) for AVX2 with FMA.
#if defined(__x86_64__)
#define MOIETY_LOOPS "avx2"
#include "rlwe/family.hpp"

const moiety::RlweKernels& moiety::rlwe_avx2() { return kKernels; }
#endif
