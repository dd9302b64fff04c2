// Dense products in bfloat16 (AVX-512 BF16): one operation adds 32 products to 16 sums, of two columns each.

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "dense_kernels.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c"))),           \
                             apply_to = function)

#define DENSE(name) name##_avx512bf16
#define DENSE_LANES 16
#define DENSE_COLUMNS 32
#define TILE_ROWS 4
#define TILE_TOKENS 6
#define INPUT uint16_t
#define OPERAND __m512bh
#define MULTIPLY_ADD_STEP(a, b, sums) (sums) = _mm512_dpbf16_ps(sums, a, b)

INLINE void WIDEN(const sign_kernels_float_type type, const uint8_t *bytes, __m512bh *y) {
    __m512 low, high;
    switch (type) {
    case SIGN_KERNELS_BFLOAT16: memcpy(y, bytes, sizeof *y); return;
    case SIGN_KERNELS_FLOAT16:
        low = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)bytes));
        high = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(bytes + 32)));
        break;
    default:
        low = _mm512_loadu_ps(bytes);
        high = _mm512_loadu_ps(bytes + 64);
        break;
    }
    *y = _mm512_cvtne2ps_pbh(high, low);
}

#include "dense_product.h"

static void pack_input_avx512bf16(const float *x, size_t columns, void *input) {
    for (size_t c = 0; c < columns; c += DENSE_COLUMNS) {
        const size_t count = columns - c < DENSE_COLUMNS ? columns - c : DENSE_COLUMNS;
        const __mmask32 mask = count == 32 ? 0xffffffffu : (1u << count) - 1;
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, x + c);
        const __m512 high = mask >> 16 ? _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + c + 16) : _mm512_setzero_ps();
        const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
        memcpy((uint16_t *)input + c, &both, sizeof both);
    }
}

#pragma clang attribute pop

DEFINE_DENSE_TABLE(avx512bf16, "bfloat16")
#endif
