// Products with matrices of one element type, and their conversion to floats. A template, as float_kernels.h says;
// float_products.h includes it with
//   WEIGHT         the type's name, such that widen_WEIGHT converts 16 of them
//   WEIGHT_BYTES   bytes of one
// and this file undefines them.

// The first `count` of 16 lanes, the others zero, whose bits mean 0 in every type.
INLINE void NAMED(widen_tail)(const uint8_t *x, size_t count, v16f *y) {
    uint8_t padded[lanes * WEIGHT_BYTES] = {0};
    copy_tail_bytes(x, count * WEIGHT_BYTES, padded);
    NAMED(widen)(padded, y);
}

// A tile of rows × tokens, 4 × 1 or 1 × 4 or 1 × 1: every product is a chain of additions of its own, and four chains
// hide the latency of one addition.
INLINE void NAMED(float_tile)(const int rows, const int tokens, const uint8_t *weights, size_t columns, const float *x,
                              size_t input_stride, float *y, size_t output_stride) {
    v16f sums[4][4] = {{{0}}};
    for (size_t c = 0; c < columns; c += lanes) {
        const size_t count = columns - c < lanes ? columns - c : lanes;
        v16f inputs[4];
        for (int j = 0; j < tokens; j++) {
            if (count == lanes) load(x + j * input_stride + c, &inputs[j]);
            else load_tail(x + j * input_stride + c, count, &inputs[j]);
        }
        for (int i = 0; i < rows; i++) {
            const uint8_t *row = weights + ((size_t)i * columns + c) * WEIGHT_BYTES;
            // Generating a token reads the whole matrix from memory: the next four rows, and these a little ahead.
            if (rows == 4 && c * WEIGHT_BYTES % 64 == 0) {
                __builtin_prefetch(row + 4 * columns * WEIGHT_BYTES, 0, 2);
                __builtin_prefetch(row + 1024, 0, 2);
            }
            v16f weight;
            if (count == lanes) NAMED(widen)(row, &weight);
            else NAMED(widen_tail)(row, count, &weight);
            for (int j = 0; j < tokens; j++) sums[i][j] += weight * inputs[j];
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < tokens; j++) y[j * output_stride + i] = sum_of_lanes(&sums[i][j]);
    }
}

static void NAMED(float_product)(const uint8_t *weights, size_t columns, size_t row_begin, size_t row_end,
                                 const float *x, size_t input_stride, size_t tokens, float *y, size_t output_stride) {
    const size_t row_bytes = columns * WEIGHT_BYTES;
    for (size_t block = row_begin; block < row_end; block += float_row_block) {
        const size_t end = row_end - block < float_row_block ? row_end : block + float_row_block;
        size_t t = 0;
        for (; t + 4 <= tokens; t += 4) {
            for (size_t r = block; r < end; r++) {
                NAMED(float_tile)(1, 4, weights + r * row_bytes, columns, x + t * input_stride, input_stride,
                                  y + t * output_stride + r, output_stride);
            }
        }
        for (; t < tokens; t++) {
            const float *input = x + t * input_stride;
            float *output = y + t * output_stride;
            size_t r = block;
            for (; r + 4 <= end; r += 4) {
                NAMED(float_tile)(4, 1, weights + r * row_bytes, columns, input, 0, output + r, 0);
            }
            for (; r < end; r++) NAMED(float_tile)(1, 1, weights + r * row_bytes, columns, input, 0, output + r, 0);
        }
    }
}

static void NAMED(widen_array)(const uint8_t *x, size_t count, float *y) {
    size_t i = 0;
    v16f values;
    for (; i + lanes <= count; i += lanes) {
        NAMED(widen)(x + i * WEIGHT_BYTES, &values);
        store(&values, y + i);
    }
    if (i == count) return;
    NAMED(widen_tail)(x + i * WEIGHT_BYTES, count - i, &values);
    store_tail(&values, count - i, y + i);
}

#undef WEIGHT
#undef WEIGHT_BYTES
