// The sign products of every instruction set. A name says it all: input type, rows × tokens of a tile, instruction set.
// Arguments as in `sign_kernels_table`.
#pragma once

#include "CSignKernels.h"

#define DECLARE_SIGN_PRODUCT(name, input)                                                              \
    void name(sign_kernels_matrix matrix, size_t row_begin, size_t row_end, const input *x, size_t input_stride, \
              size_t tokens, int32_t *y, size_t output_stride)

DECLARE_SIGN_PRODUCT(sign_kernels_product_int16_1x1__portable, int16_t);
DECLARE_SIGN_PRODUCT(sign_kernels_product_int8_1x1__portable, int8_t);
#if defined(__x86_64__)
DECLARE_SIGN_PRODUCT(sign_kernels_product_int16_2x4__avx2, int16_t);
DECLARE_SIGN_PRODUCT(sign_kernels_product_int8_2x4__avx2, int8_t);
#endif

#undef DECLARE_SIGN_PRODUCT
