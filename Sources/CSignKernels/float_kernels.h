// Quantization, norms and pointwise kernels, written once and compiled for every instruction set, as are
// float_products.h and attention.h, which build on this file. A file that includes them sets the target and defines
//   KERNEL(name)                          what a kernel is called in this version
//   widen_lanes(const v16u16 *, v16f *)   16 fp16 values to 16 floats
//   narrow_lanes(const v16f *, v16u16 *)  and back, rounded to nearest, ties to even
// Since the order of additions is written out and nothing is fused, every version returns the same bits.
//
// No include guard: it is a template. Include <math.h>, <string.h>, CSignKernels.h and vectors.h before it.

#pragma STDC FP_CONTRACT OFF

INLINE void load(const float *x, v16f *y) { memcpy(y, x, sizeof *y); }
INLINE void store(const v16f *x, float *y) { memcpy(y, x, sizeof *x); }

// Copies fewer than 16 floats in pieces of fixed size, which need no call.
INLINE void copy_tail(const float *x, size_t count, float *y) {
    size_t i = 0;
    if (count & 8) memcpy(y, x, 8 * sizeof(float)), i = 8;
    if (count & 4) memcpy(y + i, x + i, 4 * sizeof(float)), i += 4;
    if (count & 2) memcpy(y + i, x + i, 2 * sizeof(float)), i += 2;
    if (count & 1) y[i] = x[i];
}

// Copies fewer than 64 bytes in the same way.
INLINE void copy_tail_bytes(const uint8_t *x, size_t count, uint8_t *y) {
    size_t i = 0;
    if (count & 32) memcpy(y, x, 32), i = 32;
    if (count & 16) memcpy(y + i, x + i, 16), i += 16;
    if (count & 8) memcpy(y + i, x + i, 8), i += 8;
    if (count & 4) memcpy(y + i, x + i, 4), i += 4;
    if (count & 2) memcpy(y + i, x + i, 2), i += 2;
    if (count & 1) y[i] = x[i];
}

// The first `count` of 16 lanes, the others zero.
INLINE void load_tail(const float *x, size_t count, v16f *y) {
    float values[lanes] = {0};
    copy_tail(x, count, values);
    load(values, y);
}
INLINE void store_tail(const v16f *x, size_t count, float *y) {
    float values[lanes];
    store(x, values);
    copy_tail(values, count, y);
}

INLINE void fill(float value, v16f *y) {
    *y = (v16f){value, value, value, value, value, value, value, value,
                value, value, value, value, value, value, value, value};
}

// Bits of a where the mask is set, else of b.
INLINE void choose(const v16i *mask, const v16f *a, const v16f *b, v16f *y) {
    *y = (v16f)(((v16i)*a & *mask) | ((v16i)*b & ~*mask));
}

// The tree that ends every reduction: 16 lanes to 8, 4, 2, 1.
INLINE float sum_of_lanes(const v16f *x) {
    const v8f eight = __builtin_shufflevector(*x, *x, 0, 1, 2, 3, 4, 5, 6, 7)
                      + __builtin_shufflevector(*x, *x, 8, 9, 10, 11, 12, 13, 14, 15);
    const v4f four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    const v4f two = four + __builtin_shufflevector(four, four, 2, 3, 2, 3);
    return two[0] + two[1];
}

INLINE float maximum_of_lanes(const v16f *x) {
    float m[lanes];
    store(x, m);
    for (int i = 1; i < lanes; i++) m[0] = m[i] > m[0] ? m[i] : m[0];
    return m[0];
}

// Adding and taking away 1.5 · 2^23 rounds to an integer, ties to even, for |x| < 2^22.
#define ROUNDING_CONSTANT 12582912.0f

// y = exp(x) within 2 units in the last place, x held within ±87. Cephes' scheme: x = n ln 2 + r, exp x = 2^n exp r.
INLINE void exponential(const v16f *input, v16f *y) {
    v16f low, high, x = *input;
    fill(-87.0f, &low);
    fill(87.0f, &high);
    v16i below = x < low, above = x > high;
    choose(&below, &low, &x, &x);
    choose(&above, &high, &x, &x);
    const v16f shifted = x * 1.44269504f + ROUNDING_CONSTANT;
    const v16f n = shifted - ROUNDING_CONSTANT;
    const v16f r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    v16f p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    v16f rounding;
    fill(ROUNDING_CONSTANT, &rounding);
    const v16u exponent = (v16u)((v16i)shifted - (v16i)rounding + 127);
    *y = p * (v16f)(exponent << 23);
}

// y = tanh(x) within 2 units in the last place. Cephes' scheme: a polynomial near 0, 1 − 2 / (exp 2|x| + 1) elsewhere.
INLINE void hyperbolic_tangent(const v16f *input, v16f *y) {
    v16f x = *input, limit;
    fill(0.625f, &limit);
    const v16f square = x * x;
    v16f p = square * -5.70498872745e-3f + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    const v16f near = p * square * x + x;
    const v16i sign = (v16i)x & (int32_t)0x80000000;
    const v16f magnitude = (v16f)((v16i)x ^ sign);
    const v16f twice = magnitude + magnitude;
    v16f exponentials;
    exponential(&twice, &exponentials);
    const v16f far = (v16f)((v16i)(1.0f - 2.0f / (exponentials + 1.0f)) | sign);
    const v16i is_far = magnitude > limit;
    choose(&is_far, &far, &near, y);
}

// MARK: Quantization

// x ⊙ g, or x where g is NULL, of 16 lanes from i on; those from `count` on are 0.
INLINE void load_product(const float *x, const float *g, size_t i, size_t count, v16f *product) {
    v16f factor;
    if (count - i >= lanes) load(x + i, product);
    else load_tail(x + i, count - i, product);
    if (g == NULL) return;
    if (count - i >= lanes) load(g + i, &factor);
    else load_tail(g + i, count - i, &factor);
    *product *= factor;
}

INLINE void magnitudes_of_products(const float *x, const float *g, size_t i, size_t count, v16u *magnitudes) {
    v16f product;
    load_product(x, g, i, count, &product);
    *magnitudes = (v16u)product & 0x7fffffffu;
}

#include "quantize.h"

static void KERNEL(dequantize)(const int32_t *q, float s, const float *h, size_t count, float *y) {
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        v16i integers;
        v16f scale;
        memcpy(&integers, q + i, sizeof integers);
        load(h + i, &scale);
        const v16f result = __builtin_convertvector(integers, v16f) * s * scale;
        store(&result, y + i);
    }
    for (; i < count; i++) y[i] = (float)q[i] * s * h[i];
}

// MARK: Norms and pointwise

// Σ (x − shift)²
INLINE float sum_of_squares(const float *x, size_t count, float shift) {
    v16f sum = {0}, value;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        value -= shift;
        sum += value * value;
    }
    if (i < count) {
        float rest[lanes] = {0};
        for (size_t j = i; j < count; j++) rest[j - i] = x[j] - shift;
        load(rest, &value);
        sum += value * value;
    }
    return sum_of_lanes(&sum);
}

INLINE float sum_of(const float *x, size_t count) {
    v16f sum = {0}, value;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        sum += value;
    }
    if (i < count) {
        load_tail(x + i, count - i, &value);
        sum += value;
    }
    return sum_of_lanes(&sum);
}

static float KERNEL(rms_norm)(const float *x, const float *w, size_t count, float epsilon, float *y) {
    const float scale = 1.0f / sqrtf(sum_of_squares(x, count, 0.0f) / (float)count + epsilon);
    for (size_t i = 0; i < count; i++) y[i] = w[i] * (x[i] * scale);
    return scale;
}

static float KERNEL(layer_norm)(const float *x, size_t count, float epsilon, float *y) {
    const float mean = sum_of(x, count) / (float)count;
    const float variance = sum_of_squares(x, count, mean) / (float)count;
    const float scale = 1.0f / sqrtf(variance + epsilon);
    for (size_t i = 0; i < count; i++) y[i] = (x[i] - mean) * scale;
    return scale;
}

static void KERNEL(add)(const float *x, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] += x[i];
}

static void KERNEL(scale)(const float *x, const float *w, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = x[i] * w[i];
}

// Written so that NaN stays NaN.
static void KERNEL(relu)(const float *x, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

static void KERNEL(swiglu)(const float *gate, const float *up, size_t count, float *y) {
    for (size_t i = 0; i < count; i += lanes) {
        const size_t width = count - i < lanes ? count - i : lanes;
        v16f a, b, exponentials;
        if (width == lanes) {
            load(gate + i, &a);
            load(up + i, &b);
        } else {
            load_tail(gate + i, width, &a);
            load_tail(up + i, width, &b);
        }
        const v16f negative = -a;
        exponential(&negative, &exponentials);
        const v16f result = a / (exponentials + 1.0f) * b;
        if (width == lanes) {
            store(&result, y + i);
        } else {
            store_tail(&result, width, y + i);
        }
    }
}

static void KERNEL(soft_cap)(const float *x, size_t count, float scale, float cap, float *y) {
    const float factor = scale / cap;
    for (size_t i = 0; i < count; i += lanes) {
        const size_t width = count - i < lanes ? count - i : lanes;
        v16f value, result;
        if (width == lanes) load(x + i, &value);
        else load_tail(x + i, width, &value);
        value *= factor;
        hyperbolic_tangent(&value, &result);
        result *= cap;
        if (width == lanes) store(&result, y + i);
        else store_tail(&result, width, y + i);
    }
}

static void KERNEL(rotate_half)(float *x, size_t size, const float *cosine, const float *sine) {
    const size_t half = size / 2;
    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}
