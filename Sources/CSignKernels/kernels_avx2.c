// AVX2 and F16C (every CPU with AVX2 has F16C; the dispatcher asks all the same).

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel_tables.h"
#include "sign_product.h"

#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)

#define KERNEL(name) name##_avx2
#define KERNEL_NAME "avx2"
#define SIGN_PRODUCT_INT16 sign_kernels_product_int16_2x4__avx2
#define SIGN_PRODUCT_INT8 sign_kernels_product_int8_2x4__avx2

#define WIDEN_FLOAT16(halves, floats)                                              \
    do {                                                                           \
        const __m256i packed = (__m256i) * (halves);                               \
        const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));        \
        const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1));  \
        memcpy((floats), &low, sizeof low);                                        \
        memcpy((float *)(floats) + 8, &high, sizeof high);                         \
    } while (0)

#include "float_kernels.h"

#pragma clang attribute pop
#endif
