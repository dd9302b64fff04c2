// Numbers to integers with one scale. A template, as float_kernels.h says; include that file, and with it
// quantize.h, before it.

// q = round(x / s), s = max|x| / magnitude, which is returned. Writes `padded` ≥ count elements of `width` bytes, zeros
// from `count` on.
INLINE float round_to_integers(const float *x, size_t count, float magnitude, const int width, void *q, size_t padded) {
    v16u magnitudes;
    largest_magnitudes(x, NULL, count, &magnitudes);
    const float largest = largest_of_lanes(&magnitudes);
    float scale;
    if (is_degenerate(largest, q, padded * width, &scale)) return scale;
    for (size_t i = 0; i < padded; i += lanes) {
        v16i integers = {0};
        if (i < count) quantize_lanes(x, NULL, i, count, magnitude / largest, &integers);
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
