// Dense products in bfloat16 (AVX-512 BF16): two columns at a time, 32 outputs of up to 12 tokens in registers.
//
// A panel is 32 rows of the matrix in bfloat16; a pair p of its columns is 64 numbers, W[r][2p] and W[r][2p + 1] of one
// row r after the other. A step loads two vectors of weights, and one pair of each token's input into all lanes: 24
// operations of 32 products each for 14 loads.

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "dense_kernels.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c"))),           \
                             apply_to = function)

#define DENSE(name) name##_avx512bf16
#define INPUT uint16_t
#define STEP_COLUMNS 2
#define TILE_TOKENS 12
#define STEP_BYTES(type) ((void)(type), 2 * dense_panel_rows * sizeof(uint16_t))

INLINE void STEP(const sign_kernels_float_type type, const uint8_t *panel, const uint16_t *x, size_t stride,
                 const int tokens, v16f sums[][2]) {
    (void)type;
    const __m512bh first = (__m512bh)_mm512_loadu_si512(panel), second = (__m512bh)_mm512_loadu_si512(panel + 64);
    for (int j = 0; j < tokens; j++) {
        int32_t pair;
        memcpy(&pair, x + j * stride, sizeof pair);
        const __m512bh input = (__m512bh)_mm512_set1_epi32(pair);
        sums[j][0] = (v16f)_mm512_dpbf16_ps((__m512)sums[j][0], input, first);
        sums[j][1] = (v16f)_mm512_dpbf16_ps((__m512)sums[j][1], input, second);
    }
}

#include "dense_product.h"

static sign_kernels_float_type panel_type_avx512bf16(sign_kernels_float_type type) {
    (void)type;
    return SIGN_KERNELS_BFLOAT16;
}

// The first `count` of 16 numbers of a type, as floats; the others zero.
INLINE __m512 widened(const uint8_t *x, sign_kernels_float_type type, size_t count) {
    const __mmask16 mask = (__mmask16)((1u << count) - 1);
    switch (type) {
    case SIGN_KERNELS_FLOAT16: return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, x));
    case SIGN_KERNELS_BFLOAT16:
        return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16);
    default: return _mm512_maskz_loadu_ps(mask, x);
    }
}

static void pack_avx512bf16(const void *weights, sign_kernels_float_type type, size_t rows, size_t columns,
                            size_t panel_begin, size_t panel_end, void *panels) {
    const size_t pairs = (columns + 1) / 2, element = type == SIGN_KERNELS_FLOAT32 ? 4 : 2;
    for (size_t p = panel_begin; p < panel_end; p++) {
        uint16_t *panel = (uint16_t *)panels + p * pairs * 2 * dense_panel_rows;
        for (size_t r = 0; r < dense_panel_rows; r++) {
            const size_t row = p * dense_panel_rows + r;
            for (size_t c = 0; c < columns; c += lanes) {
                const size_t count = columns - c < lanes ? columns - c : lanes;
                __m512 values = _mm512_setzero_ps();
                if (row < rows) {
                    values = widened((const uint8_t *)weights + (row * columns + c) * element, type, count);
                }
                uint32_t eight_pairs[lanes / 2];
                _mm256_storeu_si256((__m256i *)eight_pairs, (__m256i)_mm512_cvtneps_pbh(values));
                for (size_t i = 0; i < (count + 1) / 2; i++) {
                    memcpy(panel + ((c / 2 + i) * dense_panel_rows + r) * 2, eight_pairs + i, sizeof *eight_pairs);
                }
            }
        }
    }
}

static size_t input_bytes_avx512bf16(size_t columns) { return (columns + 1) / 2 * 2 * sizeof(uint16_t); }

static void pack_input_avx512bf16(const float *x, size_t columns, void *input) {
    for (size_t c = 0; c < columns; c += lanes) {
        const size_t count = columns - c < lanes ? columns - c : lanes;
        const __m512 values = widened((const uint8_t *)(x + c), SIGN_KERNELS_FLOAT32, count);
        const __mmask16 written = (__mmask16)((1u << ((count + 1) / 2 * 2)) - 1);
        _mm256_mask_storeu_epi16((uint16_t *)input + c, written, (__m256i)_mm512_cvtneps_pbh(values));
    }
}

static size_t panel_bytes_avx512bf16(sign_kernels_float_type type, size_t columns) {
    return (columns + 1) / 2 * STEP_BYTES(type);
}

static void product_avx512bf16(const void *panels, sign_kernels_float_type type, size_t rows, size_t columns,
                               size_t panel_begin, size_t panel_end, const void *inputs, size_t tokens, float *y,
                               size_t output_stride) {
    product_of_avx512bf16(type, panels, rows, columns, panel_begin, panel_end, inputs, tokens, y, output_stride);
}

#pragma clang attribute pop

DEFINE_DENSE_TABLE(avx512bf16, "bfloat16")
#endif
