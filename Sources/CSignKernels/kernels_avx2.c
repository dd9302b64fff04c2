// AVX2, F16C and FMA (every CPU with AVX2 has both; the dispatcher asks all the same).

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "dense_kernels.h"
#include "kernel_tables.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx2,f16c,fma"))), apply_to = function)

#define KERNEL(name) name##_avx2

INLINE void widen_lanes(const v16u16 *halves, v16f *floats) {
    const __m256i packed = (__m256i)*halves;
    const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1));
    memcpy(floats, &low, sizeof low);
    memcpy((uint8_t *)floats + sizeof low, &high, sizeof high);
}

INLINE void narrow_lanes(const v16f *floats, v16u16 *halves) {
    __m256 low, high;
    memcpy(&low, floats, sizeof low);
    memcpy(&high, (const uint8_t *)floats + sizeof low, sizeof high);
    const __m128i first = _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT);
    const __m128i second = _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT);
    *halves = (v16u16)_mm256_set_m128i(second, first);
}

// a_2i b_2i + a_2i+1 b_2i+1 to lane i
INLINE void add_pairs(const v32i16 *a, const int16_t *b, v16i *sum) {
    __m256i factors[2], sums[2];
    memcpy(factors, a, sizeof factors);
    memcpy(sums, sum, sizeof sums);
    for (int i = 0; i < 2; i++) {
        const __m256i inputs = _mm256_loadu_si256((const __m256i *)(b + 16 * i));
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(factors[i], inputs));
    }
    memcpy(sum, sums, sizeof sums);
}

#define add_products add_pairs

#include "float_kernels.h"
#include "rounding.h"
#include "float_products.h"
#include "int8_product.h"
#define ATTENTION_SUMS 6
#include "attention.h"
#include "training_kernels.h"
#include "log_sum_exp.h"
#include "reading.h"

#define MULTIPLY_ADD(a, b, c) (c) = __builtin_elementwise_fma(a, b, c)
#define TILE_ROWS 6
#define TILE_VECTORS 1
#include "tile_product.h"
#include "causal_attention.h"

INLINE void widen_eight_float16(const void *x, v8f *y) {
    *y = (v8f)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}

#undef TILE_ROWS
#define DENSE(name) name##_avx2
#define DENSE_LANES 8
#define TILE_ROWS 2
#define TILE_TOKENS 6
#define WIDEN_FLOAT16 widen_eight_float16
#include "dense_product_float32.h"

#pragma clang attribute pop

DEFINE_KERNEL_TABLE(avx2, sign_kernels_layout_nibbles256)
DEFINE_DENSE_TABLE(avx2, "float32")
#endif
