// The loops of the RLWE kernels (reference/rlwe.py) for any processor.
#define MOIETY_LOOPS "portable"
#include "rlwe/family.hpp"

const moiety::RlweKernels& moiety::rlwe_portable() { return kKernels; }
