// AVX-512: the float kernels are those of AVX-512F for both versions, which differ in their sign products.

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "dense_kernels.h"
#include "kernel_tables.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,f16c"))), apply_to = function)

#define KERNEL(name) name##_avx512

INLINE void widen_lanes(const v16u16 *halves, v16f *floats) { *floats = (v16f)_mm512_cvtph_ps((__m256i)*halves); }

INLINE void narrow_lanes(const v16f *floats, v16u16 *halves) {
    *halves = (v16u16)_mm512_cvtps_ph((__m512)*floats, _MM_FROUND_TO_NEAREST_INT);
}

// a_2i b_2i + a_2i+1 b_2i+1 to lane i
INLINE void add_pairs(const v32i16 *a, const int16_t *b, v16i *sum) {
    *sum += (v16i)_mm512_madd_epi16((__m512i)*a, _mm512_loadu_si512(b));
}

#define add_products add_pairs

#include "float_kernels.h"
#include "rounding.h"
#include "float_products.h"
#include "int8_product.h"
#define ATTENTION_SUMS 16
#include "attention.h"
#include "training_kernels.h"
#include "log_sum_exp.h"
#include "reading.h"

#define MULTIPLY_ADD(a, b, c) (c) = __builtin_elementwise_fma(a, b, c)
#define TILE_ROWS 12
#define TILE_VECTORS 2
#include "tile_product.h"
#include "causal_attention.h"

#undef TILE_ROWS
#define DENSE(name) name##_avx512
#define DENSE_LANES 16
#define TILE_ROWS 4
#define TILE_TOKENS 6
#define WIDEN_FLOAT16 widen_float16
#include "dense_product_float32.h"

#pragma clang attribute pop

DEFINE_KERNEL_TABLE(avx512bw, sign_kernels_layout_nibbles256)
DEFINE_KERNEL_TABLE(avx512vbmi, sign_kernels_layout_sixes256)
DEFINE_DENSE_TABLE(avx512, "float32")
#endif
