// The versions, for the dispatcher alone, and the sign products that go into them.
#pragma once

#include "layouts.h"

// One version of everything that a product with sign matrices takes. Arguments as in `sign_kernels_table`.
#define DECLARE_SIGN_PRODUCT(version)                                                                                  \
    size_t sign_kernels_lut_bytes_10bit__##version(size_t columns);                                                    \
    size_t sign_kernels_lut_bytes_16bit__##version(size_t columns);                                                    \
    void sign_kernels_build_luts_10bit__##version(const int16_t *q, const sign_kernels_quantized *input,               \
                                                  size_t quad_begin, size_t quad_end, uint8_t *luts);                  \
    void sign_kernels_build_luts_16bit__##version(const int16_t *q, const sign_kernels_quantized *input,               \
                                                  size_t quad_begin, size_t quad_end, uint8_t *luts);                  \
    void sign_kernels_product_10bit__##version(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,  \
                                               const uint8_t *luts, size_t lut_stride,                                 \
                                               const sign_kernels_quantized *inputs, size_t tokens, int32_t *y,        \
                                               size_t output_stride);                                                  \
    void sign_kernels_product_16bit__##version(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,  \
                                               const uint8_t *luts, size_t lut_stride,                                 \
                                               const sign_kernels_quantized *inputs, size_t tokens, int32_t *y,        \
                                               size_t output_stride);                                                  \
    extern const sign_kernels_table sign_kernels_table_##version;

DECLARE_SIGN_PRODUCT(portable)
#if defined(__x86_64__)
DECLARE_SIGN_PRODUCT(avx2)
DECLARE_SIGN_PRODUCT(avx512bw)
DECLARE_SIGN_PRODUCT(avx512vbmi)
#elif defined(__aarch64__)
DECLARE_SIGN_PRODUCT(neon)
#endif

#undef DECLARE_SIGN_PRODUCT

// A version: its sign products, and the float kernels of the file that this stands in.
#define DEFINE_KERNEL_TABLE(version, layout_of_version)                                                                \
    const sign_kernels_table sign_kernels_table_##version = {                                                          \
        .name = #version,                                                                                              \
        .layout = &layout_of_version,                                                                                  \
        .quantize_10bit = KERNEL(quantize_10bit),                                                                      \
        .quantize_16bit = KERNEL(quantize_16bit),                                                                      \
        .lut_bytes_10bit = sign_kernels_lut_bytes_10bit__##version,                                                    \
        .lut_bytes_16bit = sign_kernels_lut_bytes_16bit__##version,                                                    \
        .build_luts_10bit = sign_kernels_build_luts_10bit__##version,                                                  \
        .build_luts_16bit = sign_kernels_build_luts_16bit__##version,                                                  \
        .sign_product_10bit = sign_kernels_product_10bit__##version,                                                   \
        .sign_product_16bit = sign_kernels_product_16bit__##version,                                                   \
        .dequantize = KERNEL(dequantize),                                                                              \
        .float_product = KERNEL(float_product),                                                                        \
        .round_int8 = KERNEL(round_int8),                                                                              \
        .round_int16 = KERNEL(round_int16),                                                                            \
        .int8_product = KERNEL(int8_product),                                                                          \
        .widen = KERNEL(widen),                                                                                        \
        .narrow_float16 = KERNEL(narrow_float16),                                                                      \
        .rms_norm = KERNEL(rms_norm),                                                                                  \
        .layer_norm = KERNEL(layer_norm),                                                                              \
        .add = KERNEL(add),                                                                                            \
        .scale = KERNEL(scale),                                                                                        \
        .relu = KERNEL(relu),                                                                                          \
        .swiglu = KERNEL(swiglu),                                                                                      \
        .soft_cap = KERNEL(soft_cap),                                                                                  \
        .rotate_half = KERNEL(rotate_half),                                                                            \
        .attention = KERNEL(attention),                                                                                \
        .attention_merge = KERNEL(attention_merge),                                                                    \
        .add_transposed_product = KERNEL(add_transposed_product),                                                      \
        .causal_attention = KERNEL(causal_attention),                                                                  \
        .causal_attention_gradient = KERNEL(causal_attention_gradient),                                                \
        .add_product = KERNEL(add_product),                                                                            \
        .layer_norm_gradient = KERNEL(layer_norm_gradient),                                                            \
        .rms_norm_gradient = KERNEL(rms_norm_gradient),                                                                \
        .swiglu_gradient = KERNEL(swiglu_gradient),                                                                    \
        .direction_loss = KERNEL(direction_loss),                                                                      \
        .logit_loss = KERNEL(logit_loss),                                                                              \
        .log_sum_exp = KERNEL(log_sum_exp),                                                                            \
        .read = KERNEL(read),                                                                                          \
    };
