// The float kernels, written once and compiled for every instruction set: a file that includes this one defines
//   KERNEL(name)                  what a kernel is called in this version
//   KERNEL_NAME                   the version's name, for users
//   SIGN_PRODUCT_INT16, _INT8     the sign products that go into its table
//   WIDEN_FLOAT16(halves, floats) 16 fp16 values (v16u16 *) to 16 floats (v16f *)
// and sets the target. Vectors are the compiler's own (16 floats), lowered to whatever the target has; since the order
// of additions is written out and nothing is fused, every version returns the same bits.
//
// No include guard: it is a template. Include <math.h>, <string.h> and CSignKernels.h before it.

#pragma STDC FP_CONTRACT OFF

enum { lanes = 16 };

typedef float v16f __attribute__((vector_size(64)));
typedef float v8f __attribute__((vector_size(32)));
typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint16_t v16u16 __attribute__((vector_size(32)));
typedef int16_t v16i16 __attribute__((vector_size(32)));
typedef int8_t v16i8 __attribute__((vector_size(16)));

// Vectors travel by address: by value they would follow a calling convention that depends on the target.
#define INLINE static inline __attribute__((always_inline))

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

// MARK: Quantisation

// Largest magnitude of x ⊙ g, compared as bit patterns: they order as magnitudes do, infinity and NaN above all else.
INLINE uint32_t largest_magnitude_bits(const float *x, const float *g, size_t columns) {
    v16u largest = {0};
    for (size_t c = 0; c < columns; c += lanes) {
        v16f a, b;
        if (columns - c >= lanes) {
            load(x + c, &a);
            load(g + c, &b);
        } else {
            load_tail(x + c, columns - c, &a);
            load_tail(g + c, columns - c, &b);
        }
        const v16u magnitude = (v16u)(a * b) & 0x7fffffffu;
        const v16u larger = (v16u)(magnitude > largest);
        largest = (magnitude & larger) | (largest & ~larger);
    }
    uint32_t result = 0;
    for (int i = 0; i < lanes; i++) result = largest[i] > result ? largest[i] : result;
    return result;
}

// 16 integers round(x ⊙ g / s); lanes beyond `count` are 0.
INLINE void quantize_lanes(const float *x, const float *g, size_t count, float inverse, v16i *q) {
    v16f a, b, rounding;
    if (count >= lanes) {
        load(x, &a);
        load(g, &b);
    } else {
        load_tail(x, count, &a);
        load_tail(g, count, &b);
    }
    fill(ROUNDING_CONSTANT, &rounding);
    const v16f shifted = (a * b) * inverse + ROUNDING_CONSTANT;
    *q = (v16i)shifted - (v16i)rounding;
}

#define SMALLEST_INPUT 1e-30f

#define DEFINE_QUANTIZE(name, element, vector, limit)                                                   \
    static float KERNEL(name)(const float *x, const float *g, size_t columns, element *q, size_t padded) { \
        const uint32_t bits = largest_magnitude_bits(x, g, columns);                                    \
        float largest;                                                                                  \
        memcpy(&largest, &bits, sizeof largest);                                                        \
        if (!(largest >= SMALLEST_INPUT) || isinf(largest)) {                                           \
            memset(q, 0, padded * sizeof *q);                                                           \
            return largest < SMALLEST_INPUT ? 0.0f : NAN;                                               \
        }                                                                                               \
        const float inverse = limit / largest;                                                          \
        for (size_t c = 0; c < padded; c += lanes) {                                                    \
            v16i wide = {0};                                                                            \
            if (c < columns) quantize_lanes(x + c, g + c, columns - c, inverse, &wide);                 \
            const vector narrow = __builtin_convertvector(wide, vector);                                \
            memcpy(q + c, &narrow, sizeof narrow);                                                      \
        }                                                                                               \
        return largest / limit;                                                                         \
    }

DEFINE_QUANTIZE(quantize_int16, int16_t, v16i16, 32767.0f)
DEFINE_QUANTIZE(quantize_int8, int8_t, v16i8, 127.0f)

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

// MARK: Products with float weights

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

// The first `count` of 16 lanes, the others zero, whose bits mean 0.0 in every type.
#define WIDEN_TAIL(widen, width, x, count, y)       \
    do {                                            \
        uint8_t padded_bytes[lanes * 4] = {0};      \
        memcpy(padded_bytes, x, (count) * (width)); \
        widen(padded_bytes, y);                     \
    } while (0)

// Rows that stay in the second-level cache while all tokens pass over them.
enum { float_row_block = 16 };

// tokens ∈ {1, 4}: one row of weights, widened once, times as many inputs.
#define DEFINE_FLOAT_PRODUCT(type, width)                                                               \
    INLINE void float_row_##type(const uint8_t *weights, size_t columns, const float *x, size_t input_stride, \
                                 const int tokens, float *y, size_t output_stride) {                    \
        v16f sums[4] = {{0}};                                                                           \
        size_t c = 0;                                                                                   \
        for (; c + lanes <= columns; c += lanes) {                                                      \
            v16f weight, input;                                                                         \
            widen_##type(weights + c * width, &weight);                                                 \
            for (int j = 0; j < tokens; j++) {                                                          \
                load(x + j * input_stride + c, &input);                                                 \
                sums[j] += weight * input;                                                              \
            }                                                                                           \
        }                                                                                               \
        if (c < columns) {                                                                              \
            v16f weight, input;                                                                         \
            WIDEN_TAIL(widen_##type, width, weights + c * width, columns - c, &weight);                 \
            for (int j = 0; j < tokens; j++) {                                                          \
                load_tail(x + j * input_stride + c, columns - c, &input);                               \
                sums[j] += weight * input;                                                              \
            }                                                                                           \
        }                                                                                               \
        for (int j = 0; j < tokens; j++) y[j * output_stride] = sum_of_lanes(&sums[j]);                 \
    }                                                                                                   \
    static void KERNEL(float_product_##type)(const uint8_t *weights, size_t columns, size_t row_begin,  \
                                             size_t row_end, const float *x, size_t input_stride, size_t tokens, \
                                             float *y, size_t output_stride) {                          \
        for (size_t block = row_begin; block < row_end; block += float_row_block) {                     \
            const size_t block_end = row_end - block < float_row_block ? row_end : block + float_row_block; \
            size_t t = 0;                                                                               \
            for (; t + 4 <= tokens; t += 4) {                                                           \
                for (size_t r = block; r < block_end; r++) {                                            \
                    float_row_##type(weights + r * columns * width, columns, x + t * input_stride, input_stride, 4, \
                                     y + t * output_stride + r, output_stride);                         \
                }                                                                                       \
            }                                                                                           \
            for (; t < tokens; t++) {                                                                   \
                for (size_t r = block; r < block_end; r++) {                                            \
                    float_row_##type(weights + r * columns * width, columns, x + t * input_stride, input_stride, 1, \
                                     y + t * output_stride + r, output_stride);                         \
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

static void KERNEL(float_product)(const void *weights, sign_kernels_float_type type, size_t columns, size_t row_begin,
                                  size_t row_end, const float *x, size_t input_stride, size_t tokens, float *y,
                                  size_t output_stride) {
    switch (type) {
    case SIGN_KERNELS_FLOAT32:
        KERNEL(float_product_float32)(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_FLOAT16:
        KERNEL(float_product_float16)(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_BFLOAT16:
        KERNEL(float_product_bfloat16)(weights, columns, row_begin, row_end, x, input_stride, tokens, y,
                                       output_stride);
        return;
    }
}

static void KERNEL(widen)(const void *x, sign_kernels_float_type type, size_t count, float *y) {
    switch (type) {
    case SIGN_KERNELS_FLOAT32: KERNEL(widen_float32)(x, count, y); return;
    case SIGN_KERNELS_FLOAT16: KERNEL(widen_float16)(x, count, y); return;
    case SIGN_KERNELS_BFLOAT16: KERNEL(widen_bfloat16)(x, count, y); return;
    }
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

static void KERNEL(rms_norm)(const float *x, const float *w, size_t count, float epsilon, float *y) {
    const float scale = 1.0f / sqrtf(sum_of_squares(x, count, 0.0f) / (float)count + epsilon);
    for (size_t i = 0; i < count; i++) y[i] = w[i] * (x[i] * scale);
}

static void KERNEL(layer_norm)(const float *x, size_t count, float epsilon, float *y) {
    const float mean = sum_of(x, count) / (float)count;
    const float variance = sum_of_squares(x, count, mean) / (float)count;
    const float scale = 1.0f / sqrtf(variance + epsilon);
    for (size_t i = 0; i < count; i++) y[i] = (x[i] - mean) * scale;
}

static void KERNEL(add)(const float *x, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] += x[i];
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

static void KERNEL(rotate_half)(float *x, size_t size, const float *cosine, const float *sine) {
    const size_t half = size / 2;
    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

// MARK: Attention

static void KERNEL(softmax)(float *x, size_t count) {
    v16f value, largest, sum = {0};
    size_t i = 0;
    fill(-INFINITY, &largest);
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        const v16i larger = value > largest;
        choose(&larger, &value, &largest, &largest);
    }
    float maximum = maximum_of_lanes(&largest);
    for (; i < count; i++) maximum = x[i] > maximum ? x[i] : maximum;

    for (i = 0; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        value -= maximum;
        exponential(&value, &value);
        store(&value, x + i);
        sum += value;
    }
    if (i < count) {
        // Stored and loaded again so that the lanes beyond `count` are cleared before the sum.
        load_tail(x + i, count - i, &value);
        value -= maximum;
        exponential(&value, &value);
        store_tail(&value, count - i, x + i);
        load_tail(x + i, count - i, &value);
        sum += value;
    }
    const float scale = 1.0f / sum_of_lanes(&sum);
    for (i = 0; i < count; i++) x[i] *= scale;
}

INLINE float dot(const float *a, const float *b, size_t count) {
    v16f sum = {0}, x, y;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(a + i, &x);
        load(b + i, &y);
        sum += x * y;
    }
    if (i < count) {
        load_tail(a + i, count - i, &x);
        load_tail(b + i, count - i, &y);
        sum += x * y;
    }
    return sum_of_lanes(&sum);
}

static void KERNEL(attention)(const float *q, const float *keys, const float *values, size_t stride, size_t positions,
                              size_t size, float scale, float *weights, float *y) {
    for (size_t p = 0; p < positions; p++) weights[p] = dot(q, keys + p * stride, size) * scale;
    KERNEL(softmax)(weights, positions);
    size_t i = 0;
    for (; i + lanes <= size; i += lanes) {
        v16f sum = {0}, value;
        for (size_t p = 0; p < positions; p++) {
            load(values + p * stride + i, &value);
            sum += value * weights[p];
        }
        store(&sum, y + i);
    }
    if (i < size) {
        v16f sum = {0}, value;
        for (size_t p = 0; p < positions; p++) {
            load_tail(values + p * stride + i, size - i, &value);
            sum += value * weights[p];
        }
        store_tail(&sum, size - i, y + i);
    }
}

const sign_kernels_table KERNEL(sign_kernels_table) = {
    .name = KERNEL_NAME,
    .sign_product_int16 = SIGN_PRODUCT_INT16,
    .sign_product_int8 = SIGN_PRODUCT_INT8,
    .quantize_int16 = KERNEL(quantize_int16),
    .quantize_int8 = KERNEL(quantize_int8),
    .dequantize = KERNEL(dequantize),
    .float_product = KERNEL(float_product),
    .widen = KERNEL(widen),
    .rms_norm = KERNEL(rms_norm),
    .layer_norm = KERNEL(layer_norm),
    .add = KERNEL(add),
    .swiglu = KERNEL(swiglu),
    .rotate_half = KERNEL(rotate_half),
    .softmax = KERNEL(softmax),
    .attention = KERNEL(attention),
};
