// Dense products in 32-bit floats, of weights that stay in their stored type. A template, compiled for each instruction
// set: a file that includes it sets the target, includes float_products.h and dense_kernels.h, and defines
//   DENSE(name)             what a function is called in this version
//   TILE_TOKENS             tokens whose sums fit into the registers
//   MULTIPLY_ADD(a, b, c)   c += a ⊙ b for vectors, rounded once where the CPU can: unlike the other kernels', the last
//                           bits of these products depend on the version
//
// A panel is 32 rows of the matrix, column by column: W[0][c] … W[31][c], in the type that the checkpoint has.

#define INPUT float
#define STEP_COLUMNS 1
#define STEP_BYTES(type) (dense_panel_rows * element_bytes(type))

INLINE size_t element_bytes(sign_kernels_float_type type) { return type == SIGN_KERNELS_FLOAT32 ? 4 : 2; }

INLINE void STEP(const sign_kernels_float_type type, const uint8_t *panel, const float *x, size_t stride,
                 const int tokens, v16f sums[][2]) {
    v16f weights[2];
    for (int half = 0; half < 2; half++) {
        switch (type) {
        case SIGN_KERNELS_FLOAT16: widen_float16(panel + half * lanes * 2, &weights[half]); break;
        case SIGN_KERNELS_BFLOAT16: widen_bfloat16(panel + half * lanes * 2, &weights[half]); break;
        default: widen_float32(panel + half * lanes * 4, &weights[half]); break;
        }
    }
    for (int j = 0; j < tokens; j++) {
        v16f input;
        fill(x[j * stride], &input);
        MULTIPLY_ADD(weights[0], input, sums[j][0]);
        MULTIPLY_ADD(weights[1], input, sums[j][1]);
    }
}

#include "dense_product.h"

static sign_kernels_float_type DENSE(panel_type)(sign_kernels_float_type type) { return type; }

static size_t DENSE(panel_bytes)(sign_kernels_float_type type, size_t columns) { return columns * STEP_BYTES(type); }

static void DENSE(pack)(const void *weights, sign_kernels_float_type type, size_t rows, size_t columns,
                        size_t panel_begin, size_t panel_end, void *panels) {
    const size_t size = element_bytes(type);
    for (size_t p = panel_begin; p < panel_end; p++) {
        uint8_t *panel = (uint8_t *)panels + p * columns * dense_panel_rows * size;
        for (size_t r = 0; r < dense_panel_rows; r++) {
            const size_t row = p * dense_panel_rows + r;
            const uint8_t *source = (const uint8_t *)weights + row * columns * size;
            for (size_t c = 0; c < columns; c++) {
                uint8_t *target = panel + (c * dense_panel_rows + r) * size;
                if (row >= rows) memset(target, 0, size);
                else if (size == 4) memcpy(target, source + c * 4, 4);
                else memcpy(target, source + c * 2, 2);
            }
        }
    }
}

static size_t DENSE(input_bytes)(size_t columns) { return columns * sizeof(float); }

static void DENSE(pack_input)(const float *x, size_t columns, void *input) { memcpy(input, x, columns * sizeof *x); }

static void DENSE(product)(const void *panels, sign_kernels_float_type type, size_t rows, size_t columns,
                           size_t panel_begin, size_t panel_end, const void *inputs, size_t tokens, float *y,
                           size_t output_stride) {
    switch (type) {
    case SIGN_KERNELS_FLOAT16:
        DENSE(product_of)(SIGN_KERNELS_FLOAT16, panels, rows, columns, panel_begin, panel_end, inputs, tokens, y,
                          output_stride);
        return;
    case SIGN_KERNELS_BFLOAT16:
        DENSE(product_of)(SIGN_KERNELS_BFLOAT16, panels, rows, columns, panel_begin, panel_end, inputs, tokens, y,
                          output_stride);
        return;
    default:
        DENSE(product_of)(SIGN_KERNELS_FLOAT32, panels, rows, columns, panel_begin, panel_end, inputs, tokens, y,
                          output_stride);
        return;
    }
}
