// Sign products in plain C, one addition at a time: the oracle of every other version.

#include "sign_product.h"

void sign_kernels_product_int16_1x1__portable(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                              const int16_t *x, size_t input_stride, size_t tokens, int32_t *y,
                                              size_t output_stride) {
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *bits = matrix.bits + r * matrix.bytes_per_row;
        for (size_t t = 0; t < tokens; t++) {
            const int16_t *input = x + t * input_stride;
            int32_t sum = 0;
            for (size_t c = 0; c < matrix.columns; c++) {
                const int32_t negative = bits[c / 8] >> (c % 8) & 1;
                sum += negative ? -input[c] : input[c];
            }
            y[t * output_stride + r] = sum;
        }
    }
}

void sign_kernels_product_int8_1x1__portable(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                             const int8_t *x, size_t input_stride, size_t tokens, int32_t *y,
                                             size_t output_stride) {
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *bits = matrix.bits + r * matrix.bytes_per_row;
        for (size_t t = 0; t < tokens; t++) {
            const int8_t *input = x + t * input_stride;
            int32_t sum = 0;
            for (size_t c = 0; c < matrix.columns; c++) {
                const int32_t negative = bits[c / 8] >> (c % 8) & 1;
                sum += negative ? -input[c] : input[c];
            }
            y[t * output_stride + r] = sum;
        }
    }
}
