// Products with matrices of 8-bit integers, scaled by row: an output head or embeddings. A template, as float_kernels.h
// says; a file that includes it defines
//   add_products(const v32i16 *a, const int16_t *b, v16i *sum)   adds 32 products to 16 sums, two to each
//
// Inputs are 16-bit integers, so a sum is exact and its order free: versions may differ in their tiles. Converting
// weights to floats would take eight operations where this takes three.

enum {
    int8_step = 32,
    // Chains of sums that hide the time that one addition takes.
    int8_chains = 4,
    // Columns whose products four lanes can sum in 32 bits: 2048 / 4 of at most 128 · 32767.
    int8_exact_columns = 2048,
    // Rows that stay in the second-level cache while all tokens pass over them.
    int8_row_block = 16,
};

// Of 16 lanes that are together the sums of at most int8_exact_columns products, evenly.
INLINE int64_t sum_of_integers(const v16i *x) {
    typedef int32_t v8i __attribute__((vector_size(32)));
    typedef int32_t v4i __attribute__((vector_size(16)));
    const v8i eight = __builtin_shufflevector(*x, *x, 0, 1, 2, 3, 4, 5, 6, 7)
                      + __builtin_shufflevector(*x, *x, 8, 9, 10, 11, 12, 13, 14, 15);
    const v4i four =
        __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    return ((int64_t)four[0] + four[1]) + ((int64_t)four[2] + four[3]);
}

// 32 weights, of which `count` are in the row, times the inputs of some tokens.
INLINE void int8_multiply(const int tokens, const int8_t *weights, size_t count, const int16_t *q, size_t input_stride,
                          v16i *sums, const int sum_stride) {
    v32i8 bytes;
    int16_t inputs[4][int8_step] = {{0}};
    if (count >= int8_step) {
        memcpy(&bytes, weights, sizeof bytes);
    } else {
        int8_t padded[int8_step] = {0};
        copy_tail_bytes((const uint8_t *)weights, count, (uint8_t *)padded);
        memcpy(&bytes, padded, sizeof bytes);
        for (int t = 0; t < tokens; t++) {
            copy_tail_bytes((const uint8_t *)(q + t * input_stride), count * sizeof *q, (uint8_t *)inputs[t]);
        }
    }
    const v32i16 wide = __builtin_convertvector(bytes, v32i16);
    for (int t = 0; t < tokens; t++) {
        add_products(&wide, count >= int8_step ? q + t * input_stride : inputs[t], sums + t * sum_stride);
    }
}

// One row times 1 or 4 tokens. Memory is read in a straight line: four rows side by side, which would read an input
// once for all of them, reach two thirds of this speed where the matrix comes from memory.
INLINE void int8_row(const int tokens, const int8_t *weights, float row_scale, size_t columns, const int16_t *q,
                     size_t input_stride, const float *input_scales, float *y, size_t output_stride) {
    int64_t totals[4] = {0};
    for (size_t begin = 0; begin < columns; begin += int8_exact_columns) {
        const size_t end = columns - begin < int8_exact_columns ? columns : begin + int8_exact_columns;
        v16i sums[4][int8_chains] = {{{0}}};
        size_t c = begin;
        if (tokens == 1) {
            for (; c + int8_chains * int8_step <= end; c += int8_chains * int8_step) {
                __builtin_prefetch(weights + c + 4096, 0, 3);
                __builtin_prefetch(weights + c + 4096 + 64, 0, 3);
                for (int i = 0; i < int8_chains; i++) {
                    int8_multiply(1, weights + c + i * int8_step, int8_step, q + c + i * int8_step, 0, &sums[0][i], 0);
                }
            }
        }
        for (; c < end; c += int8_step) {
            int8_multiply(tokens, weights + c, end - c, q + c, input_stride, sums[0], int8_chains);
        }
        for (int t = 0; t < tokens; t++) {
            const v16i sum = (sums[t][0] + sums[t][1]) + (sums[t][2] + sums[t][3]);
            totals[t] += sum_of_integers(&sum);
        }
    }
    for (int t = 0; t < tokens; t++) y[t * output_stride] = (float)totals[t] * input_scales[t] * row_scale;
}

static void KERNEL(int8_product)(const int8_t *weights, const float *row_scales, size_t columns, size_t row_begin,
                                 size_t row_end, const int16_t *q, size_t input_stride,
                                 const float *input_scales, size_t tokens, float *y, size_t output_stride) {
    for (size_t block = row_begin; block < row_end; block += int8_row_block) {
        const size_t end = row_end - block < int8_row_block ? row_end : block + int8_row_block;
        for (size_t t = 0; t < tokens;) {
            const size_t count = tokens - t < 4 ? 1 : 4;
            const int16_t *input = q + t * input_stride;
            for (size_t r = block; r < end; r++) {
                const int8_t *row = weights + r * columns;
                float *output = y + t * output_stride + r;
                if (count == 4) {
                    int8_row(4, row, row_scales[r], columns, input, input_stride, input_scales + t, output,
                             output_stride);
                } else {
                    int8_row(1, row, row_scales[r], columns, input, 0, input_scales + t, output, 0);
                }
            }
            t += count;
        }
    }
}
