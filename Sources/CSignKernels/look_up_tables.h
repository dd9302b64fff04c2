// The look-up tables of sign products, written once and compiled for every instruction set.
//
//     T[i] = Σ_j |x_j| · [bit j of i ≠ (x_j < 0)] = Σ_{j ∈ i} x_j − Σ_j min(x_j, 0)
//
// T is stored in digits of base 64, a byte each, so that four of them can be added in a byte: two digits where |x| ≤ 682
// (T ≤ 6 · 682 < 64²), three where |x| ≤ 32767 (T ≤ 6 · 32767 < 64³).
//
// No include guard: it is a template. Include <string.h>, layouts.h and vectors.h before it.

enum { digits_10bit = 2, digits_16bit = 3, digits_at_most = 3, digit_bits = 6 };

// Digits 0 and 1 of the entries of one group of 4 or 6 columns; entries 16k to 16k + 15 of digit d go to
// luts + d · digit_stride + 16k. In words of 16 bits: what an outlier's sum has beyond them is its third digit's.
INLINE void tabulate_two_digits(const int16_t *x, const int columns, uint8_t *luts, size_t digit_stride) {
    const v16i16 bit0 = {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1};
    const v16i16 bit1 = {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1};
    const v16i16 bit2 = {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};
    const v16i16 bit3 = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
    int32_t negative = 0;
    for (int j = 0; j < columns; j++) negative += x[j] < 0 ? x[j] : 0;
    const v16u16 first = (v16u16)(bit0 & x[0]) + (v16u16)(bit1 & x[1]) + (v16u16)(bit2 & x[2]) + (v16u16)(bit3 & x[3])
                         - (uint16_t)negative;
    for (int run = 0; run < 1 << (columns - 4); run++) {
        const v16u16 entries = first + (uint16_t)((run & 1 ? x[4] : 0) + (run & 2 ? x[5] : 0));
        for (int d = 0; d < digits_10bit; d++) {
            const v16u8 digit = __builtin_convertvector(entries >> (digit_bits * d) & 63, v16u8);
            memcpy(luts + 16 * run + d * digit_stride, &digit, sizeof digit);
        }
    }
}

// Digits first_digit ≤ d < first_digit + digits, the first of them at `luts`.
INLINE void tabulate(const int16_t *x, const int columns, const int first_digit, const int digits, uint8_t *luts,
                     size_t digit_stride) {
    if (first_digit == 0 && digits == digits_10bit) {
        tabulate_two_digits(x, columns, luts, digit_stride);
        return;
    }
    const v16i bit0 = {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1};
    const v16i bit1 = {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1};
    const v16i bit2 = {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};
    const v16i bit3 = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
    int32_t negative = 0;
    for (int j = 0; j < columns; j++) negative += x[j] < 0 ? x[j] : 0;
    const v16i first = (bit0 & x[0]) + (bit1 & x[1]) + (bit2 & x[2]) + (bit3 & x[3]) - negative;
    for (int run = 0; run < 1 << (columns - 4); run++) {
        const v16i entries = first + ((run & 1 ? x[4] : 0) + (run & 2 ? x[5] : 0));
        for (int d = 0; d < digits; d++) {
            const v16u8 digit = __builtin_convertvector(entries >> (digit_bits * (first_digit + d)) & 63, v16u8);
            memcpy(luts + 16 * run + d * digit_stride, &digit, sizeof digit);
        }
    }
}
