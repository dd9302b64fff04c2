// The version that every CPU can run.

#include <math.h>
#include <string.h>

#include "dense_kernels.h"
#include "kernel_tables.h"
#include "vectors.h"

#define KERNEL(name) name##_portable

// The fields of an fp16 value, moved to the positions of a float's, are that value times 2^−112, subnormals included.
// Infinity and NaN have the exponent 31 and need a float's 255.
INLINE void widen_lanes(const v16u16 *halves, v16f *floats) {
    const v16u wide = __builtin_convertvector(*halves, v16u);
    const v16f magnitude = (v16f)((wide & 0x7fffu) << 13) * 0x1p112f;
    const v16u special = (v16u)((wide & 0x7c00u) == 0x7c00u) & 0x7f800000u;
    *floats = (v16f)((v16u)magnitude | special | (wide & 0x8000u) << 16);
}

// Half precision ends in units of 2^(e − 10), or 2^−24 below 2^−14. Adding 2^13 of these units rounds to them; what is
// left of the constant are the bits of the result. Everything from 65520 on is infinity; NaN stays NaN, quiet.
INLINE uint16_t narrow_one_float16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    const uint32_t exponent = magnitude >> 23 < 113 ? 113 : magnitude >> 23;
    const uint32_t unit = (exponent + 13) << 23;
    float rounded, constant;
    memcpy(&rounded, &magnitude, sizeof rounded);
    memcpy(&constant, &unit, sizeof constant);
    rounded += constant;
    uint32_t result;
    memcpy(&result, &rounded, sizeof result);
    return (uint16_t)(sign | (result - unit + ((exponent - 113) << 10)));
}

INLINE void narrow_lanes(const v16f *floats, v16u16 *halves) {
    for (int i = 0; i < lanes; i++) (*halves)[i] = narrow_one_float16((*floats)[i]);
}

// a_2i b_2i + a_2i+1 b_2i+1 to lane i, on a machine that numbers its bytes from the least significant one.
INLINE void add_pairs(const v32i16 *a, const int16_t *b, v16i *sum) {
    v16i inputs;
    memcpy(&inputs, b, sizeof inputs);
    const v16i factors = (v16i)*a;
    *sum += ((v16i)((v16u)factors << 16) >> 16) * ((v16i)((v16u)inputs << 16) >> 16) + (factors >> 16) * (inputs >> 16);
}

#define add_products add_pairs

#include "float_kernels.h"
#include "rounding.h"
#include "float_products.h"
#include "int8_product.h"
#define ATTENTION_SUMS 4
#include "attention.h"
#include "training_kernels.h"
#include "log_sum_exp.h"
#include "reading.h"

#define MULTIPLY_ADD(a, b, c) (c) += (a) * (b)
#define TILE_ROWS 4
#define TILE_VECTORS 1
#include "tile_product.h"
#include "causal_attention.h"

#undef TILE_ROWS
#define DENSE(name) name##_portable
#define DENSE_LANES 16
#define TILE_ROWS 2
#define TILE_TOKENS 2
#define WIDEN_FLOAT16 widen_float16
#include "dense_product_float32.h"

DEFINE_KERNEL_TABLE(portable, sign_kernels_layout_nibbles256)
DEFINE_DENSE_TABLE(portable, "float32")
