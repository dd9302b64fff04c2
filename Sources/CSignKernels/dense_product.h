// Products of some tokens with a dense matrix, read where it lies: row after row in the type of its file. A template: a file
// that includes it sets the target, includes dense_kernels.h and vectors.h, and defines
//   DENSE(name)                     what a function is called in this version
//   DENSE_LANES                     lanes of a vector of sums, 16 or 8
//   DENSE_COLUMNS                   columns that one step along the rows takes
//   INPUT, OPERAND                  the type of an input's elements, and a vector of DENSE_COLUMNS of them
//   WIDEN(type, bytes, operand)     makes DENSE_COLUMNS stored weights an operand
//   MULTIPLY_ADD_STEP(a, b, sums)   adds the products of two operands to a vector of sums
//   TILE_ROWS, TILE_TOKENS          rows (1, 2 or 4) and tokens (2 or 6) whose vectors of sums fit into the registers
//
// Each output is DENSE_LANES chains of sums along the columns, in their order, and a tree of sums at their end. It depends on
// its row and its token alone: not on the tokens beside it, and not on how rows and tokens are shared out.
//
// No include guard: it is a template.

#define SUMS DENSE(sums)
typedef float SUMS __attribute__((vector_size(DENSE_LANES * sizeof(float))));

enum {
    // Rows that stay in the second-level cache while all tiles of tokens pass over them.
    DENSE(block_rows) = 48,
    // Columns of a tile of tokens that stay in the first-level cache while these rows pass over them, and how many are not
    // worth the division.
    DENSE(block_columns) = 1024,
    DENSE(undivided_columns) = 2048,
    // Bytes that are fetched further ahead than the rows in use end.
    DENSE(fetched_bytes) = 4096,
};

INLINE size_t DENSE(element_bytes)(sign_kernels_float_type type) { return type == SIGN_KERNELS_FLOAT32 ? 4 : 2; }

// As WIDEN, of the first `count` of DENSE_COLUMNS weights; the others are zero, whose bits mean 0 in every type.
INLINE void DENSE(widen_tail)(const sign_kernels_float_type type, const uint8_t *bytes, size_t count, OPERAND *operand) {
    uint8_t padded[DENSE_COLUMNS * 4] = {0};
    memcpy(padded, bytes, count * DENSE(element_bytes)(type));
    WIDEN(type, padded, operand);
}

// y[i] = the sum of the lanes of sums[i], for the first `rows` of four. Lanes that lie half a vector apart are added until
// one is left; the four share vectors as they get shorter.
INLINE void DENSE(sum_lanes)(const SUMS *sums, size_t rows, float *y) {
#if DENSE_LANES == 16
    SUMS eights[2];
    for (int i = 0; i < 2; i++) {
        const SUMS a = sums[2 * i], b = sums[2 * i + 1];
        eights[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
                    + __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
    const SUMS p = eights[0], q = eights[1];
    const SUMS fours = __builtin_shufflevector(p, q, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
                       + __builtin_shufflevector(p, q, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const v8f twos = __builtin_shufflevector(fours, fours, 0, 1, 4, 5, 8, 9, 12, 13)
                     + __builtin_shufflevector(fours, fours, 2, 3, 6, 7, 10, 11, 14, 15);
#else
    SUMS fours[2];
    for (int i = 0; i < 2; i++) {
        const SUMS a = sums[2 * i], b = sums[2 * i + 1];
        fours[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
                   + __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
    const v8f twos = __builtin_shufflevector(fours[0], fours[1], 0, 1, 4, 5, 8, 9, 12, 13)
                     + __builtin_shufflevector(fours[0], fours[1], 2, 3, 6, 7, 10, 11, 14, 15);
#endif
    const v4f ones = __builtin_shufflevector(twos, twos, 0, 2, 4, 6) + __builtin_shufflevector(twos, twos, 1, 3, 5, 7);
    if (rows == 4) memcpy(y, &ones, sizeof ones);
    else memcpy(y, &ones, rows * sizeof *y);
}

// sums[j][i] += the products of DENSE_COLUMNS columns, for rows i and tokens j.
INLINE void DENSE(step)(const int rows, const int tokens, const OPERAND *weights, const INPUT *x, size_t stride,
                        SUMS sums[][4]) {
    OPERAND input;
    for (int j = 0; j < tokens; j++) {
        memcpy(&input, x + j * stride, sizeof input);
        for (int i = 0; i < rows; i++) MULTIPLY_ADD_STEP(weights[i], input, sums[j][i]);
    }
}

// The same for `columns` columns, the last ones of the matrix or whole steps. The inputs are zero beyond the last. Where the
// weights come from memory, those that lie a little further on are fetched meanwhile.
INLINE void DENSE(walk)(const int rows, const int tokens, const sign_kernels_float_type type, const int fetches,
                        const uint8_t *weights, size_t row_bytes, const INPUT *x, size_t stride, size_t columns,
                        SUMS sums[][4]) {
    const size_t element = DENSE(element_bytes)(type), ahead = 4 * row_bytes + DENSE(fetched_bytes);
    OPERAND operands[4];
    size_t c = 0;
    for (; c + DENSE_COLUMNS <= columns; c += DENSE_COLUMNS) {
        for (int i = 0; i < rows; i++) {
            const uint8_t *row = weights + i * row_bytes + c * element;
            for (size_t line = 0; fetches && line < DENSE_COLUMNS * element; line += 64) {
                __builtin_prefetch(row + line + ahead, 0, 2);
            }
            WIDEN(type, row, &operands[i]);
        }
        DENSE(step)(rows, tokens, operands, x + c, stride, sums);
    }
    if (c == columns) return;
    for (int i = 0; i < rows; i++) {
        DENSE(widen_tail)(type, weights + i * row_bytes + c * element, columns - c, &operands[i]);
    }
    DENSE(step)(rows, tokens, operands, x + c, stride, sums);
}

// One token or two: four rows at a time, chains of sums that hide each other's latency.
INLINE void DENSE(few)(const int tokens, const sign_kernels_float_type type, const uint8_t *weights, size_t columns,
                       size_t rows, const INPUT *x, size_t stride, float *y, size_t output_stride) {
    const size_t row_bytes = columns * DENSE(element_bytes)(type);
    for (size_t r = 0; r < rows; r += 4) {
        const size_t count = rows - r < 4 ? rows - r : 4;
        const uint8_t *row = weights + r * row_bytes;
        SUMS sums[2][4] = {{{0}}};
        if (count == 4) {
            DENSE(walk)(4, tokens, type, 1, row, row_bytes, x, stride, columns, sums);
        } else {
            for (size_t i = 0; i < count; i++) {
                SUMS one[2][4] = {{{0}}};
                DENSE(walk)(1, tokens, type, 0, row + i * row_bytes, row_bytes, x, stride, columns, one);
                for (int j = 0; j < tokens; j++) sums[j][i] = one[j][0];
            }
        }
        for (int j = 0; j < tokens; j++) DENSE(sum_lanes)(sums[j], count, y + j * output_stride + r);
    }
}

// Sums of a tile of tokens with a block of rows that wait for the next block of columns.
typedef SUMS DENSE(waiting)[TILE_TOKENS][DENSE(block_rows)];

// A tile of tokens with some rows from r on and a block of columns, the first, the last, both or neither.
INLINE void DENSE(tile)(const int rows, const int tokens, const sign_kernels_float_type type, const int fetches,
                        const uint8_t *weights, size_t row_bytes, const INPUT *x, size_t stride, size_t columns,
                        const bool is_first, const bool is_last, size_t r, DENSE(waiting) waiting, float *y,
                        size_t output_stride) {
    SUMS sums[TILE_TOKENS][4] = {{{0}}};
    if (!is_first) {
        for (int j = 0; j < tokens; j++) {
            for (int i = 0; i < rows; i++) sums[j][i] = waiting[j][r + i];
        }
    }
    DENSE(walk)(rows, tokens, type, fetches, weights + r * row_bytes, row_bytes, x, stride, columns, sums);
    for (int j = 0; j < tokens; j++) {
        if (is_last) {
            DENSE(sum_lanes)(sums[j], rows, y + j * output_stride + r);
        } else {
            for (int i = 0; i < rows; i++) waiting[j][r + i] = sums[j][i];
        }
    }
}

// A tile of tokens with a block of rows.
INLINE void DENSE(many)(const int tokens, const sign_kernels_float_type type, const int fetches, const uint8_t *weights,
                        size_t columns, size_t block_columns, size_t rows, const INPUT *x, size_t stride, float *y,
                        size_t output_stride) {
    const size_t element = DENSE(element_bytes)(type), row_bytes = columns * element;
    DENSE(waiting) waiting;
    for (size_t c = 0; c < columns; c += block_columns) {
        const size_t count = columns - c < block_columns ? columns - c : block_columns;
        const bool is_first = c == 0, is_last = c + count == columns;
        const uint8_t *block = weights + c * element;
        size_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
            DENSE(tile)(TILE_ROWS, tokens, type, fetches, block, row_bytes, x + c, stride, count, is_first, is_last, r,
                        waiting, y, output_stride);
        }
        for (; r < rows; r++) {
            DENSE(tile)(1, tokens, type, 0, block, row_bytes, x + c, stride, count, is_first, is_last, r, waiting, y,
                        output_stride);
        }
    }
}

INLINE void DENSE(product_of)(const sign_kernels_float_type type, const uint8_t *weights, size_t columns,
                              size_t row_begin, size_t row_end, const INPUT *x, size_t tokens, float *y,
                              size_t output_stride) {
    const size_t stride = (columns + DENSE_COLUMNS - 1) / DENSE_COLUMNS * DENSE_COLUMNS;
    const size_t row_bytes = columns * DENSE(element_bytes)(type);
    if (tokens <= 2) {
        const uint8_t *first = weights + row_begin * row_bytes;
        const size_t rows = row_end - row_begin;
        if (tokens == 1) DENSE(few)(1, type, first, columns, rows, x, stride, y + row_begin, output_stride);
        else if (tokens == 2) DENSE(few)(2, type, first, columns, rows, x, stride, y + row_begin, output_stride);
        return;
    }
    const size_t tiles = (tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    // One tile uses the weights once: the order in which they come from memory counts more.
    const bool divides = tiles > 1 && columns > DENSE(undivided_columns);
    const size_t block_columns = divides ? DENSE(block_columns) : columns;
    for (size_t row = row_begin; row < row_end; row += DENSE(block_rows)) {
        const uint8_t *block = weights + row * row_bytes;
        const size_t rows = row_end - row < DENSE(block_rows) ? row_end - row : DENSE(block_rows);
        for (size_t tile = 0; tile < tiles; tile++) {
            // Tiles of one size, or of two that differ by one. The first one brings the rows from memory.
            const size_t begin = tokens * tile / tiles, count = tokens * (tile + 1) / tiles - begin;
            const INPUT *input = x + begin * stride;
            float *output = y + begin * output_stride + row;
#define TILE(n)                                                                                                        \
    case n:                                                                                                            \
        if (tile == 0) {                                                                                               \
            DENSE(many)(n, type, 1, block, columns, block_columns, rows, input, stride, output, output_stride);        \
        } else {                                                                                                       \
            DENSE(many)(n, type, 0, block, columns, block_columns, rows, input, stride, output, output_stride);        \
        }                                                                                                              \
        break;
            switch (count) {
#if TILE_TOKENS == 2
                TILE(1)
                TILE(2)
#else
                TILE(3)
                TILE(4)
                TILE(5)
                TILE(6)
#endif
            }
#undef TILE
        }
    }
}

static void DENSE(product)(const void *weights, sign_kernels_float_type type, size_t columns, size_t row_begin,
                           size_t row_end, const void *inputs, size_t tokens, float *y, size_t output_stride) {
    switch (type) {
    case SIGN_KERNELS_FLOAT16:
        DENSE(product_of)(SIGN_KERNELS_FLOAT16, weights, columns, row_begin, row_end, inputs, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_BFLOAT16:
        DENSE(product_of)(SIGN_KERNELS_BFLOAT16, weights, columns, row_begin, row_end, inputs, tokens, y, output_stride);
        return;
    default:
        DENSE(product_of)(SIGN_KERNELS_FLOAT32, weights, columns, row_begin, row_end, inputs, tokens, y, output_stride);
        return;
    }
}

static size_t DENSE(input_bytes)(size_t columns) {
    return (columns + DENSE_COLUMNS - 1) / DENSE_COLUMNS * DENSE_COLUMNS * sizeof(INPUT);
}

// NaN and infinity have all bits of the exponent set.
static bool DENSE(is_finite)(const void *weights, sign_kernels_float_type type, size_t count) {
    const uint8_t *bytes = weights;
    const size_t byte_count = count * DENSE(element_bytes)(type);
    const uint32_t exponent = type == SIGN_KERNELS_FLOAT16    ? 0x7c007c00u
                              : type == SIGN_KERNELS_BFLOAT16 ? 0x7f807f80u
                                                              : 0x7f800000u;
    v16u words, mask = {0}, found = {0};
    mask += exponent;
    for (size_t i = 0; i < byte_count; i += sizeof words) {
        if (byte_count - i < sizeof words) words = (v16u){0};
        memcpy(&words, bytes + i, byte_count - i < sizeof words ? byte_count - i : sizeof words);
        if (type == SIGN_KERNELS_FLOAT32) found |= (v16u)((words & mask) == mask);
        else found |= (v16u)(((v32u16)words & (v32u16)mask) == (v32u16)mask);
    }
    uint32_t any = 0;
    for (int lane = 0; lane < lanes; lane++) any |= found[lane];
    return any == 0;
}

#undef SUMS
