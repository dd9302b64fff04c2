// The versions of the dense products, for their dispatcher alone.
#pragma once

#include "CSignKernels.h"

extern const sign_kernels_dense_table sign_kernels_dense_portable;
#if defined(__x86_64__)
extern const sign_kernels_dense_table sign_kernels_dense_avx2;
extern const sign_kernels_dense_table sign_kernels_dense_avx512;
extern const sign_kernels_dense_table sign_kernels_dense_avx512bf16;
#elif defined(__aarch64__)
extern const sign_kernels_dense_table sign_kernels_dense_neon;
#endif

#define DEFINE_DENSE_TABLE(version, arithmetic_of_version)                                                             \
    const sign_kernels_dense_table sign_kernels_dense_##version = {                                                    \
        .name = #version,                                                                                              \
        .arithmetic = arithmetic_of_version,                                                                           \
        .is_finite = DENSE(is_finite),                                                                                 \
        .input_bytes = DENSE(input_bytes),                                                                             \
        .pack_input = DENSE(pack_input),                                                                               \
        .product = DENSE(product),                                                                                     \
    };
