// The versions, for the dispatcher alone.
#pragma once

#include "CSignKernels.h"

extern const sign_kernels_table sign_kernels_table_portable;
#if defined(__x86_64__)
extern const sign_kernels_table sign_kernels_table_avx2;
#endif
