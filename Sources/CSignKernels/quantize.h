// Quantization of the inputs of sign products. A template, as float_kernels.h says; include that file before it.

// Largest magnitude of x ⊙ g (x where g is NULL) in each of 16 lanes, as bit patterns: they order as magnitudes do, infinity and NaN above all
// else.
INLINE void largest_magnitudes(const float *x, const float *g, size_t columns, v16u *largest) {
    *largest = (v16u){0};
    for (size_t c = 0; c < columns; c += lanes) {
        v16u magnitude;
        magnitudes_of_products(x, g, c, columns, &magnitude);
        const v16u larger = (v16u)(magnitude > *largest);
        *largest = (magnitude & larger) | (*largest & ~larger);
    }
}

// 16 integers round(x ⊙ g · inverse) from i on (x where g is NULL); those from `count` on are 0.
INLINE void quantize_lanes(const float *x, const float *g, size_t i, size_t count, float inverse, v16i *q) {
    v16f product, rounding;
    load_product(x, g, i, count, &product);
    fill(ROUNDING_CONSTANT, &rounding);
    const v16f shifted = product * inverse + ROUNDING_CONSTANT;
    *q = (v16i)shifted - (v16i)rounding;
}

// q = round(x ⊙ g · inverse), zeros from `columns` to `padded`; returns Σ|q|.
static int32_t quantize_row(const float *x, const float *g, size_t columns, float inverse, int16_t *q, size_t padded) {
    v16i magnitudes = {0};
    for (size_t c = 0; c < padded; c += lanes) {
        v16i wide = {0};
        if (c < columns) quantize_lanes(x, g, c, columns, inverse, &wide);
        const v16i sign = wide >> 31;
        magnitudes += (wide ^ sign) - sign;
        const v16i16 narrow = __builtin_convertvector(wide, v16i16);
        const size_t count = padded - c < lanes ? padded - c : lanes;
        if (count == lanes) memcpy(q + c, &narrow, sizeof narrow);
        else copy_tail_bytes((const uint8_t *)&narrow, count * sizeof *q, (uint8_t *)(q + c));
    }
    return __builtin_reduce_add(magnitudes);
}

enum { outlier_count = SIGN_KERNELS_OUTLIERS };

INLINE sign_kernels_quantized without_outliers(float scale, int32_t magnitude) {
    sign_kernels_quantized result = {scale, magnitude, {0}};
    for (int i = 0; i < outlier_count; i++) result.outliers[i] = SIGN_KERNELS_NO_OUTLIER;
    return result;
}

#define SMALLEST_INPUT 1e-30f

// Whether a row's largest magnitude is no number to divide by; its integers are then 0 and its scale says why.
INLINE int is_degenerate(float largest, void *q, size_t bytes, float *scale) {
    if (largest >= SMALLEST_INPUT && !isinf(largest)) return 0;
    memset(q, 0, bytes);
    *scale = largest < SMALLEST_INPUT ? 0.0f : NAN;
    return 1;
}

INLINE float largest_of_lanes(const v16u *magnitudes) {
    const uint32_t bits = __builtin_reduce_max(*magnitudes);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    return largest;
}

static sign_kernels_quantized KERNEL(quantize_16bit)(const float *x, const float *g, size_t columns, int16_t *q,
                                                     size_t padded) {
    v16u magnitudes;
    largest_magnitudes(x, g, columns, &magnitudes);
    const float largest = largest_of_lanes(&magnitudes);
    float scale;
    if (is_degenerate(largest, q, padded * sizeof *q, &scale)) return without_outliers(scale, 0);
    return without_outliers(largest / 32767.0f, quantize_row(x, g, columns, 32767.0f / largest, q, padded));
}

// The largest inputs of a row in falling order, and one more: magnitudes as bit patterns and columns; of equal ones the
// leftmost come first.
typedef struct {
    uint32_t magnitudes[outlier_count + 1];
    uint32_t columns[outlier_count + 1];
} largest_inputs;

INLINE void insert_input(largest_inputs *inputs, uint32_t magnitude, uint32_t column) {
    if (magnitude <= inputs->magnitudes[outlier_count]) return;
    int i = outlier_count;
    for (; i > 0 && magnitude > inputs->magnitudes[i - 1]; i--) {
        inputs->magnitudes[i] = inputs->magnitudes[i - 1];
        inputs->columns[i] = inputs->columns[i - 1];
    }
    inputs->magnitudes[i] = magnitude;
    inputs->columns[i] = column;
}

// The fifth largest of the lanes' largest inputs is no larger than the row's fifth largest, so only the few vectors that
// reach it are looked at input by input.
INLINE void find_largest_inputs(const float *x, const float *g, size_t columns, const v16u *lane_magnitudes,
                                largest_inputs *inputs) {
    largest_inputs ranked = {{0}, {0}};
    uint32_t values[lanes];
    memcpy(values, lane_magnitudes, sizeof values);
    for (int i = 0; i < lanes; i++) insert_input(&ranked, values[i], 0);
    // Zeros are never outliers.
    const uint32_t least = ranked.magnitudes[outlier_count] > 0 ? ranked.magnitudes[outlier_count] : 1;
    *inputs = (largest_inputs){{0}, {0}};
    for (size_t c = 0; c < columns; c += lanes) {
        v16u magnitude;
        magnitudes_of_products(x, g, c, columns, &magnitude);
        if (__builtin_reduce_or((v16i)(magnitude >= least)) == 0) continue;
        memcpy(values, &magnitude, sizeof values);
        for (int i = 0; i < lanes; i++) insert_input(inputs, values[i], (uint32_t)(c + i));
    }
}

static sign_kernels_quantized KERNEL(quantize_10bit)(const float *x, const float *g, size_t columns, int16_t *q,
                                                     size_t padded) {
    v16u magnitudes;
    largest_magnitudes(x, g, columns, &magnitudes);
    const float largest = largest_of_lanes(&magnitudes);
    float scale;
    if (is_degenerate(largest, q, padded * sizeof *q, &scale)) return without_outliers(scale, 0);
    largest_inputs inputs;
    find_largest_inputs(x, g, columns, &magnitudes, &inputs);
    float next;
    memcpy(&next, &inputs.magnitudes[outlier_count], sizeof next);
    // The scale of the inputs that are not outliers, unless an outlier would not fit 16 bits then.
    const float levels = SIGN_KERNELS_10BIT_LARGEST, scale_of_next = next / levels, scale_of_largest = largest / 32767.0f;
    const int is_next = scale_of_next >= scale_of_largest;
    const float inverse = is_next ? levels / next : 32767.0f / largest;
    scale = is_next ? scale_of_next : scale_of_largest;
    sign_kernels_quantized result = without_outliers(scale, quantize_row(x, g, columns, inverse, q, padded));
    for (int i = 0; i < outlier_count; i++) {
        const int16_t value = q[inputs.columns[i]];
        const int magnitude = value < 0 ? -value : value;
        if (magnitude > SIGN_KERNELS_10BIT_LARGEST) result.outliers[i] = inputs.columns[i];
    }
    return result;
}
