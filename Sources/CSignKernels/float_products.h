// Products with matrices that are stored in float or, scaled by row, in 8-bit integers. A template, as float_kernels.h
// says; include that file before it.

INLINE void widen_float32(const void *x, v16f *y) { memcpy(y, x, sizeof *y); }
INLINE void widen_float16(const void *x, v16f *y) {
    v16u16 halves;
    memcpy(&halves, x, sizeof halves);
    WIDEN_FLOAT16(&halves, y);
}
INLINE void widen_bfloat16(const void *x, v16f *y) {
    v16u16 halves;
    memcpy(&halves, x, sizeof halves);
    *y = (v16f)(__builtin_convertvector(halves, v16u) << 16);
}
INLINE void widen_int8(const void *x, v16f *y) {
    v16i8 bytes;
    memcpy(&bytes, x, sizeof bytes);
    *y = __builtin_convertvector(__builtin_convertvector(bytes, v16i), v16f);
}

// Copies fewer than 64 bytes in pieces of fixed size, which need no call.
INLINE void copy_tail_bytes(const uint8_t *x, size_t count, uint8_t *y) {
    size_t i = 0;
    if (count & 32) memcpy(y, x, 32), i = 32;
    if (count & 16) memcpy(y + i, x + i, 16), i += 16;
    if (count & 8) memcpy(y + i, x + i, 8), i += 8;
    if (count & 4) memcpy(y + i, x + i, 4), i += 4;
    if (count & 2) memcpy(y + i, x + i, 2), i += 2;
    if (count & 1) y[i] = x[i];
}

// The first `count` of 16 lanes, the others zero, whose bits mean 0 in every type.
#define WIDEN_TAIL(widen, width, x, count, y)                                          \
    do {                                                                               \
        uint8_t padded_bytes[lanes * (width)] = {0};                                   \
        copy_tail_bytes((const uint8_t *)(x), (count) * (width), padded_bytes);        \
        widen(padded_bytes, y);                                                        \
    } while (0)

// Rows that stay in the second-level cache while all tokens pass over them.
enum { float_row_block = 16 };

// A tile of rows × tokens, 4 × 1 or 1 × 4 or 1 × 1: every product has a chain of additions of its own, so four of them
// hide the time that one addition takes.
#define DEFINE_FLOAT_PRODUCT(type, width)                                                               \
    INLINE void float_tile_##type(const int rows, const int tokens, const uint8_t *weights, size_t columns, \
                                  const float *x, size_t input_stride, float *y, size_t output_stride) { \
        v16f sums[4][4] = {{{0}}};                                                                      \
        for (size_t c = 0; c < columns; c += lanes) {                                                   \
            const size_t count = columns - c < lanes ? columns - c : lanes;                             \
            v16f inputs[4];                                                                             \
            for (int j = 0; j < tokens; j++) {                                                          \
                if (count == lanes) load(x + j * input_stride + c, &inputs[j]);                         \
                else load_tail(x + j * input_stride + c, count, &inputs[j]);                            \
            }                                                                                           \
            for (int i = 0; i < rows; i++) {                                                            \
                const uint8_t *row = weights + ((size_t)i * columns + c) * width;                       \
                /* Generating a token reads the whole matrix from memory: the next rows, and these a little on. */ \
                if (rows == 4 && c * width % 64 == 0) {                                                 \
                    __builtin_prefetch(row + 4 * columns * width, 0, 2);                                \
                    __builtin_prefetch(row + 1024, 0, 2);                                               \
                }                                                                                       \
                v16f weight;                                                                            \
                if (count == lanes) widen_##type(row, &weight);                                         \
                else WIDEN_TAIL(widen_##type, width, row, count, &weight);                              \
                for (int j = 0; j < tokens; j++) sums[i][j] += weight * inputs[j];                      \
            }                                                                                           \
        }                                                                                               \
        for (int i = 0; i < rows; i++) {                                                                \
            for (int j = 0; j < tokens; j++) y[j * output_stride + i] = sum_of_lanes(&sums[i][j]);      \
        }                                                                                               \
    }                                                                                                   \
    static void KERNEL(float_product_##type)(const uint8_t *weights, size_t columns, size_t row_begin,  \
                                             size_t row_end, const float *x, size_t input_stride, size_t tokens, \
                                             float *y, size_t output_stride) {                          \
        for (size_t block = row_begin; block < row_end; block += float_row_block) {                     \
            const size_t end = row_end - block < float_row_block ? row_end : block + float_row_block;   \
            size_t t = 0;                                                                               \
            for (; t + 4 <= tokens; t += 4) {                                                           \
                for (size_t r = block; r < end; r++) {                                                  \
                    float_tile_##type(1, 4, weights + r * columns * width, columns, x + t * input_stride, \
                                      input_stride, y + t * output_stride + r, output_stride);          \
                }                                                                                       \
            }                                                                                           \
            for (; t < tokens; t++) {                                                                   \
                const float *input = x + t * input_stride;                                              \
                float *output = y + t * output_stride;                                                  \
                size_t r = block;                                                                       \
                for (; r + 4 <= end; r += 4) {                                                          \
                    float_tile_##type(4, 1, weights + r * columns * width, columns, input, 0, output + r, 0); \
                }                                                                                       \
                for (; r < end; r++) {                                                                  \
                    float_tile_##type(1, 1, weights + r * columns * width, columns, input, 0, output + r, 0); \
                }                                                                                       \
            }                                                                                           \
        }                                                                                               \
    }                                                                                                   \
    static void KERNEL(widen_##type)(const uint8_t *x, size_t count, float *y) {                        \
        size_t i = 0;                                                                                   \
        v16f values;                                                                                    \
        for (; i + lanes <= count; i += lanes) {                                                        \
            widen_##type(x + i * width, &values);                                                       \
            store(&values, y + i);                                                                      \
        }                                                                                               \
        if (i == count) return;                                                                         \
        WIDEN_TAIL(widen_##type, width, x + i * width, count - i, &values);                             \
        store_tail(&values, count - i, y + i);                                                          \
    }

DEFINE_FLOAT_PRODUCT(float32, 4)
DEFINE_FLOAT_PRODUCT(float16, 2)
DEFINE_FLOAT_PRODUCT(bfloat16, 2)
DEFINE_FLOAT_PRODUCT(int8, 1)

static void KERNEL(float_product)(const void *weights, sign_kernels_float_type type, size_t columns, size_t row_begin,
                                  size_t row_end, const float *x, size_t input_stride, size_t tokens, float *y,
                                  size_t output_stride) {
#define PRODUCT_OF(type) \
    KERNEL(float_product_##type)(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride)
    switch (type) {
    case SIGN_KERNELS_FLOAT32: PRODUCT_OF(float32); return;
    case SIGN_KERNELS_FLOAT16: PRODUCT_OF(float16); return;
    case SIGN_KERNELS_BFLOAT16: PRODUCT_OF(bfloat16); return;
    case SIGN_KERNELS_INT8: PRODUCT_OF(int8); return;
    }
#undef PRODUCT_OF
}

static void KERNEL(widen)(const void *x, sign_kernels_float_type type, size_t count, float *y) {
    switch (type) {
    case SIGN_KERNELS_FLOAT32: KERNEL(widen_float32)(x, count, y); return;
    case SIGN_KERNELS_FLOAT16: KERNEL(widen_float16)(x, count, y); return;
    case SIGN_KERNELS_BFLOAT16: KERNEL(widen_bfloat16)(x, count, y); return;
    case SIGN_KERNELS_INT8: KERNEL(widen_int8)(x, count, y); return;
    }
}

static void KERNEL(narrow_float16)(const float *x, size_t count, uint16_t *y) {
    for (size_t i = 0; i < count; i += lanes) {
        const size_t width = count - i < lanes ? count - i : lanes;
        v16f values;
        if (width == lanes) load(x + i, &values);
        else load_tail(x + i, width, &values);
        v16u16 halves;
        NARROW_FLOAT16(&values, &halves);
        if (width == lanes) memcpy(y + i, &halves, sizeof halves);
        else copy_tail_bytes((const uint8_t *)&halves, width * sizeof *y, (uint8_t *)(y + i));
    }
}
