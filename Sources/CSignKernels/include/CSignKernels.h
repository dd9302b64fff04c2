// Products with ±1 matrices at one bit per weight, and the float arithmetic around them.
//
// The only header that Swift sees. A `sign_kernels_table` is one instruction set's version of every kernel; the
// tables that this machine can run are found once, by asking the CPU. Whoever holds a table may call all of it.
//
// What every version promises, and the tests demand:
//   * products with sign matrices are exact, so all versions return the same integers;
//   * float reductions add in one fixed order (16 lanes, then a tree; no fused multiply-add), so all versions
//     return the same bits, and a caller that splits rows or tokens over threads changes no bit either.
//
// What these kernels are not: they don't check sizes, allocate, or start threads. The caller does.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Widest sign matrix. 65536 inputs of at most 32767 in magnitude sum to less than 2^31.
#define SIGN_KERNELS_MAXIMUM_COLUMNS 65536

// Quantised inputs are stored in rows whose length is a multiple of this, zero beyond `columns`.
#define SIGN_KERNELS_INPUT_PADDING 32

// A matrix of ±1: bit j of byte k of a row is column 8k+j, least significant first; bit 1 means −1.
// Bits beyond `columns` in a row's last byte may have any value. No byte beyond `bytes_per_row · rows` is read.
typedef struct sign_kernels_matrix {
    const uint8_t *_Nonnull bits;
    size_t bytes_per_row;  // at least ceil(columns / 8)
    size_t columns;        // at most SIGN_KERNELS_MAXIMUM_COLUMNS
} sign_kernels_matrix;

// The float types that weights are stored in.
typedef enum sign_kernels_float_type {
    SIGN_KERNELS_FLOAT32 = 0,
    SIGN_KERNELS_FLOAT16 = 1,
    SIGN_KERNELS_BFLOAT16 = 2,
} sign_kernels_float_type;

// One instruction set's version of every kernel. Matrices are row-major; strides count elements.
typedef struct sign_kernels_table {
    // The name that ONEBIT_INSTRUCTION_SET takes.
    const char *_Nonnull name;

    // y[t][r] = Σ_c S[r][c] · x[t][c]   for row_begin ≤ r < row_end, 0 ≤ t < tokens; exact.
    // x: [tokens, input_stride], padded as SIGN_KERNELS_INPUT_PADDING says, |x| ≤ 32767. y: [tokens, output_stride].
    void (*_Nonnull sign_product_int16)(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                        const int16_t *_Nonnull x, size_t input_stride, size_t tokens,
                                        int32_t *_Nonnull y, size_t output_stride);
    // The same with |x| ≤ 127.
    void (*_Nonnull sign_product_int8)(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                       const int8_t *_Nonnull x, size_t input_stride, size_t tokens,
                                       int32_t *_Nonnull y, size_t output_stride);

    // q = round((x ⊙ g) / s), s = max|x ⊙ g| / 32767, ties to even; returns s. q is zero-filled up to `padded`.
    // An input with NaN or infinity gives q = 0 and s = NaN, so that the damage shows in everything downstream;
    // an input below 1e-30 throughout gives q = 0 and s = 0.
    float (*_Nonnull quantize_int16)(const float *_Nonnull x, const float *_Nonnull g, size_t columns,
                                     int16_t *_Nonnull q, size_t padded);
    // The same with 127.
    float (*_Nonnull quantize_int8)(const float *_Nonnull x, const float *_Nonnull g, size_t columns,
                                    int8_t *_Nonnull q, size_t padded);
    // y = q · s ⊙ h
    void (*_Nonnull dequantize)(const int32_t *_Nonnull q, float s, const float *_Nonnull h, size_t count,
                                float *_Nonnull y);

    // y[t][r] = Σ_c W[r][c] · x[t][c]   for row_begin ≤ r < row_end, 0 ≤ t < tokens. W: [rows, columns], any alignment.
    void (*_Nonnull float_product)(const void *_Nonnull weights, sign_kernels_float_type type, size_t columns,
                                   size_t row_begin, size_t row_end, const float *_Nonnull x, size_t input_stride,
                                   size_t tokens, float *_Nonnull y, size_t output_stride);
    // y = x as 32-bit floats
    void (*_Nonnull widen)(const void *_Nonnull x, sign_kernels_float_type type, size_t count, float *_Nonnull y);

    // y = x / sqrt(mean(x²) + ε) ⊙ w
    void (*_Nonnull rms_norm)(const float *_Nonnull x, const float *_Nonnull w, size_t count, float epsilon,
                              float *_Nonnull y);
    // y = (x − mean(x)) / sqrt(var(x) + ε); y may be x
    void (*_Nonnull layer_norm)(const float *_Nonnull x, size_t count, float epsilon, float *_Nonnull y);
    // y = x + y
    void (*_Nonnull add)(const float *_Nonnull x, size_t count, float *_Nonnull y);
    // y = gate · σ(gate) ⊙ up; y may be gate or up
    void (*_Nonnull swiglu)(const float *_Nonnull gate, const float *_Nonnull up, size_t count, float *_Nonnull y);
    // Rotates the pairs (x[i], x[i + size/2]) of one head by the angles whose cosines and sines are given, [size/2].
    void (*_Nonnull rotate_half)(float *_Nonnull x, size_t size, const float *_Nonnull cosine,
                                 const float *_Nonnull sine);
    // x = exp(x − max x) / Σ exp(x − max x)
    void (*_Nonnull softmax)(float *_Nonnull x, size_t count);
    // y = Σ_p softmax_p(q · k_p · scale) v_p   over `positions` rows of keys and values, `stride` elements apart.
    // weights: room for `positions` floats.
    void (*_Nonnull attention)(const float *_Nonnull q, const float *_Nonnull keys, const float *_Nonnull values,
                               size_t stride, size_t positions, size_t size, float scale, float *_Nonnull weights,
                               float *_Nonnull y);
} sign_kernels_table;

// The versions that this package was built with, best first, whether or not this CPU can run them; the last is the
// portable one, which every CPU can. NULL beyond the last.
const char *_Nullable sign_kernels_known_name(size_t index);

// The version called `name`, or, with no name, the best that this CPU can run. NULL when the name isn't known or when
// the CPU (or the operating system, which has to save the registers) lacks what it needs.
const sign_kernels_table *_Nullable sign_kernels_find(const char *_Nullable name);

// Tells the CPU that this thread waits in a loop.
static inline void sign_kernels_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __cplusplus
}
#endif
