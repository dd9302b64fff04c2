// Numbers to integers with one scale. A template, as float_kernels.h says; include that file before it.

// Largest magnitude, compared as bit patterns: they order as magnitudes do, infinity and NaN above all else.
INLINE float largest_magnitude(const float *x, size_t count) {
    v16u largest = {0};
    for (size_t i = 0; i < count; i += lanes) {
        v16f value;
        if (count - i >= lanes) load(x + i, &value);
        else load_tail(x + i, count - i, &value);
        const v16u bits = (v16u)value & 0x7fffffffu, larger = (v16u)(bits > largest);
        largest = (bits & larger) | (largest & ~larger);
    }
    uint32_t bits = 0;
    for (int i = 0; i < lanes; i++) bits = largest[i] > bits ? largest[i] : bits;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

// q = round(x / s), s = max|x| / magnitude, which is returned. Writes `padded` ≥ count elements of `width` bytes, zeros
// from `count` on.
INLINE float round_to_integers(const float *x, size_t count, float magnitude, const int width, void *q, size_t padded) {
    const float largest = largest_magnitude(x, count);
    if (!(largest >= SMALLEST_INPUT) || isinf(largest)) {
        memset(q, 0, padded * width);
        return largest < SMALLEST_INPUT ? 0.0f : NAN;
    }
    const float inverse = magnitude / largest;
    v16f value, rounding;
    fill(ROUNDING_CONSTANT, &rounding);
    for (size_t i = 0; i < padded; i += lanes) {
        v16i integers = {0};
        if (i < count) {
            if (count - i >= lanes) load(x + i, &value);
            else load_tail(x + i, count - i, &value);
            const v16f shifted = value * inverse + ROUNDING_CONSTANT;
            integers = (v16i)shifted - (v16i)rounding;
        }
        const v16i16 words = __builtin_convertvector(integers, v16i16);
        const v16i8 bytes = __builtin_convertvector(integers, v16i8);
        const void *source = width == 2 ? (const void *)&words : (const void *)&bytes;
        uint8_t *target = (uint8_t *)q + i * width;
        if (padded - i >= lanes) memcpy(target, source, lanes * width);
        else copy_tail_bytes(source, (padded - i) * width, target);
    }
    return largest / magnitude;
}

static float KERNEL(round_int8)(const float *x, size_t count, int8_t *q, size_t padded) {
    return round_to_integers(x, count, 127, sizeof *q, q, padded);
}

static float KERNEL(round_int16)(const float *x, size_t count, int16_t *q, size_t padded) {
    return round_to_integers(x, count, 32767, sizeof *q, q, padded);
}
