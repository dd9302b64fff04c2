// NEON, which every 64-bit Arm has.

#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "dense_kernels.h"
#include "kernel_tables.h"
#include "vectors.h"

#define KERNEL(name) name##_neon

INLINE void widen_lanes(const v16u16 *halves, v16f *floats) {
    float16x8_t low, high;
    memcpy(&low, halves, sizeof low);
    memcpy(&high, (const uint8_t *)halves + sizeof low, sizeof high);
    const float32x4_t quarters[4] = {vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
                                     vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
    memcpy(floats, quarters, sizeof quarters);
}

INLINE void narrow_lanes(const v16f *floats, v16u16 *halves) {
    float32x4_t quarters[4];
    memcpy(quarters, floats, sizeof quarters);
    const float16x8_t low = vcvt_high_f16_f32(vcvt_f16_f32(quarters[0]), quarters[1]);
    const float16x8_t high = vcvt_high_f16_f32(vcvt_f16_f32(quarters[2]), quarters[3]);
    memcpy(halves, &low, sizeof low);
    memcpy((uint8_t *)halves + sizeof low, &high, sizeof high);
}

// a_2i b_2i + a_2i+1 b_2i+1 to lane i
INLINE void add_pairs(const v32i16 *a, const int16_t *b, v16i *sum) {
    int16x8_t factors[4];
    int32x4_t sums[4];
    memcpy(factors, a, sizeof factors);
    memcpy(sums, sum, sizeof sums);
    for (int i = 0; i < 4; i++) {
        const int16x8_t inputs = vld1q_s16(b + 8 * i);
        const int32x4_t low = vmull_s16(vget_low_s16(factors[i]), vget_low_s16(inputs));
        sums[i] = vaddq_s32(sums[i], vpaddq_s32(low, vmull_high_s16(factors[i], inputs)));
    }
    memcpy(sum, sums, sizeof sums);
}

// Two products to each lane, of whichever columns.
INLINE void add_products(const v32i16 *a, const int16_t *b, v16i *sum) {
    int16x8_t factors[4];
    int32x4_t sums[4];
    memcpy(factors, a, sizeof factors);
    memcpy(sums, sum, sizeof sums);
    for (int i = 0; i < 4; i++) {
        const int16x8_t inputs = vld1q_s16(b + 8 * i);
        sums[i] = vmlal_s16(sums[i], vget_low_s16(factors[i]), vget_low_s16(inputs));
        sums[i] = vmlal_high_s16(sums[i], factors[i], inputs);
    }
    memcpy(sum, sums, sizeof sums);
}

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
    float16x8_t halves;
    memcpy(&halves, x, sizeof halves);
    const float32x4_t quarters[2] = {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
    memcpy(y, quarters, sizeof quarters);
}

#undef TILE_ROWS
#define DENSE(name) name##_neon
#define DENSE_LANES 8
#define TILE_ROWS 2
#define TILE_TOKENS 6
#define WIDEN_FLOAT16 widen_eight_float16
#include "dense_product_float32.h"

DEFINE_KERNEL_TABLE(neon, sign_kernels_layout_nibbles256)
DEFINE_DENSE_TABLE(neon, "float32")
#endif
