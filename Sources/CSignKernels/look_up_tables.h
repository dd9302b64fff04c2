// The look-up tables of sign products, written once and compiled for every instruction set.
//
//     T[i] = Σ_j |x_j| · [bit j of i ≠ (x_j < 0)] = Σ_{j ∈ i} x_j − Σ_j min(x_j, 0)
//
// T is stored in digits of base 64, a byte each, so that four of them can be added in a byte: two digits where |x| ≤ 127
// (T ≤ 6 · 127 < 64²), three where |x| ≤ 32767 (T ≤ 6 · 32767 < 64³).
//
// No include guard: it is a template. Include <string.h>, layouts.h and vectors.h before it.

enum { digits_int8 = 2, digits_int16 = 3, digit_bits = 6 };

// The entries of one group of 4 or 6 columns; entries 16k to 16k + 15 of digit d go to luts + d · digit_stride + 16k.
// Twice the same, for sums of inputs of 8 bits, which fit 16, and of 16 bits, which take 32.
INLINE void tabulate_int8(const int8_t *x, const int columns, uint8_t *luts, size_t digit_stride) {
    const v16i16 bit0 = {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1};
    const v16i16 bit1 = {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1};
    const v16i16 bit2 = {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};
    const v16i16 bit3 = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
    int32_t negative = 0;
    for (int j = 0; j < columns; j++) negative += x[j] < 0 ? x[j] : 0;
    const v16i16 first = (bit0 & x[0]) + (bit1 & x[1]) + (bit2 & x[2]) + (bit3 & x[3]) - (int16_t)negative;
    for (int run = 0; run < 1 << (columns - 4); run++) {
        const v16i16 entries = first + (int16_t)((run & 1 ? x[4] : 0) + (run & 2 ? x[5] : 0));
        for (int d = 0; d < digits_int8; d++) {
            const v16u8 digit = __builtin_convertvector(entries >> (digit_bits * d) & 63, v16u8);
            memcpy(luts + 16 * run + d * digit_stride, &digit, sizeof digit);
        }
    }
}

INLINE void tabulate_int16(const int16_t *x, const int columns, uint8_t *luts, size_t digit_stride) {
    const v16i bit0 = {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1};
    const v16i bit1 = {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1};
    const v16i bit2 = {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};
    const v16i bit3 = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
    int32_t negative = 0;
    for (int j = 0; j < columns; j++) negative += x[j] < 0 ? x[j] : 0;
    const v16i first = (bit0 & x[0]) + (bit1 & x[1]) + (bit2 & x[2]) + (bit3 & x[3]) - negative;
    for (int run = 0; run < 1 << (columns - 4); run++) {
        const v16i entries = first + ((run & 1 ? x[4] : 0) + (run & 2 ? x[5] : 0));
        for (int d = 0; d < digits_int16; d++) {
            const v16u8 digit = __builtin_convertvector(entries >> (digit_bits * d) & 63, v16u8);
            memcpy(luts + 16 * run + d * digit_stride, &digit, sizeof digit);
        }
    }
}
