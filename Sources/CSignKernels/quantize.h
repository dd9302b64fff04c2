// Quantization of one token's inputs to one integer type. A template, as float_kernels.h says, which includes it with
//   QUANTIZE   the function's name
//   INTEGER    the type
//   INTEGERS   16 of them
//   LARGEST    the magnitude that the largest input gets
// and undefines none: this file does.

static sign_kernels_quantized QUANTIZE(const float *x, const float *g, size_t columns, INTEGER *q, size_t padded) {
    const uint32_t bits = largest_magnitude_bits(x, g, columns);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (!(largest >= SMALLEST_INPUT) || isinf(largest)) {
        memset(q, 0, padded * sizeof *q);
        return (sign_kernels_quantized){largest < SMALLEST_INPUT ? 0.0f : NAN, 0};
    }
    const float inverse = LARGEST / largest;
    v16i magnitudes = {0};
    for (size_t c = 0; c < padded; c += lanes) {
        v16i wide = {0};
        if (c < columns) quantize_lanes(x + c, g + c, columns - c, inverse, &wide);
        const v16i sign = wide >> 31;
        magnitudes += (wide ^ sign) - sign;
        const INTEGERS narrow = __builtin_convertvector(wide, INTEGERS);
        const size_t count = padded - c < lanes ? padded - c : lanes;
        if (count == lanes) memcpy(q + c, &narrow, sizeof narrow);
        else copy_tail_bytes((const uint8_t *)&narrow, count * sizeof *q, (uint8_t *)(q + c));
    }
    int32_t magnitude = 0;
    for (int i = 0; i < lanes; i++) magnitude += magnitudes[i];
    return (sign_kernels_quantized){largest / LARGEST, magnitude};
}

#undef QUANTIZE
#undef INTEGER
#undef INTEGERS
#undef LARGEST
