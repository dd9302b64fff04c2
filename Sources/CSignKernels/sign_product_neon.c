// Sign products with NEON: table look-ups of 16 entries, 16 rows at a time. Every 64-bit Arm has it.
//
// Per group of 4 columns and 64 rows: 32 bytes of bits in, two indices out of every byte, and per index and digit one
// look-up and one byte addition; every four groups the bytes are added to 16-bit sums of even and odd lanes. The dot
// product extension has no use here: nothing is multiplied.

#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#include "kernel_tables.h"
#include "vectors.h"
#include "look_up_tables.h"

#define VERSION neon
#define LAYOUT sign_kernels_layout_nibbles256
#define GROUP_COLUMNS 4
#define TILE_ROWS 256
#define STRIP_ROWS 64
#define STRIP_GROUP_BYTES(rows) ((size_t)32)
#define PIECE_QUADS piece_quads
#define INDEX_BYTES (groups_per_quad * STRIP_ROWS)
#define LUT_DIGIT_BYTES (groups_per_quad * 16)
#define DIGITS_10BIT digits_10bit
#define DIGITS_16BIT digits_16bit
#define OUTLIER_DIGITS 1
#define FETCH_AHEAD 32768

// Of rows 8q + 0 to 3, rows 8q + 4 to 7 (q = 0 to 3), and the same of the second 32 rows, by digit: 16-bit sums of all
// lanes, an odd one counted 256 times, which may wrap (the even lanes come out right), and of the odd lanes.
typedef struct {
    uint16x8_t all[4][digits_at_most], odd[4][digits_at_most];
} run_sums;

// sums[8q + j] += digit sums of lane 4j + quarter_lane(q), times 64^digit; 16 lanes are j = 0 to 3.
INLINE void empty_vector(uint16x8_t all, uint16x8_t odd, const int digit, uint32_t *sums) {
    const uint32x4_t even = vreinterpretq_u32_u16(vsubq_u16(all, vshlq_n_u16(odd, 8)));
    const uint32x4_t odds = vreinterpretq_u32_u16(odd), low = vdupq_n_u32(0xffff);
    const uint32x4_t quarters[4] = {vandq_u32(even, low), vshrq_n_u32(even, 16), vandq_u32(odds, low),
                                    vshrq_n_u32(odds, 16)};
    const int32x4_t shift = vdupq_n_s32(digit_bits * digit);
    for (int q = 0; q < 4; q++) vst1q_u32(sums + 8 * q, vaddq_u32(vld1q_u32(sums + 8 * q), vshlq_u32(quarters[q], shift)));
}

INLINE void empty(const int first_digit, const int digits, size_t rows, run_sums *run, uint32_t *sums) {
    (void)rows;
    for (int v = 0; v < 4; v++) {
        for (int d = 0; d < digits; d++) {
            empty_vector(run->all[v][d], run->odd[v][d], first_digit + d, sums + 4 * (v & 1) + 32 * (v >> 1));
            run->all[v][d] = run->odd[v][d] = vdupq_n_u16(0);
        }
    }
}

INLINE void split_nibbles(const uint8_t *bits, uint8x16_t index[4]) {
    const uint8x16_t first = vld1q_u8(bits), second = vld1q_u8(bits + 16), nibble = vdupq_n_u8(15);
    index[0] = vandq_u8(first, nibble);
    index[1] = vandq_u8(second, nibble);
    index[2] = vshrq_n_u8(first, 4);
    index[3] = vshrq_n_u8(second, 4);
}

INLINE void fetch_quad(const uint8_t *bits) {
    for (int line = 0; line < 128; line += 64) __builtin_prefetch(bits + FETCH_AHEAD + line, 0, 2);
}

// `bits` of packed groups, or with `expanded` four vectors of indices.
INLINE void accumulate_groups(const int digits, const uint8_t *bits, const int expanded, const uint8_t *luts,
                              size_t quads, run_sums *run, const int fetches) {
    uint16x8_t all[4][digits_at_most], odd[4][digits_at_most];
    for (int v = 0; v < 4; v++) {
        for (int d = 0; d < digits; d++) all[v][d] = run->all[v][d], odd[v][d] = run->odd[v][d];
    }
    for (size_t quad = 0; quad < quads; quad++) {
        uint8x16_t bytes[4][digits_at_most];
        if (fetches) fetch_quad(bits);
        for (int g = 0; g < groups_per_quad; g++, bits += expanded ? 64 : 32) {
            uint8x16_t index[4];
            if (expanded) {
                for (int v = 0; v < 4; v++) index[v] = vld1q_u8(bits + 16 * v);
            } else {
                split_nibbles(bits, index);
            }
            for (int d = 0; d < digits; d++, luts += 16) {
                const uint8x16_t table = vld1q_u8(luts);
                for (int v = 0; v < 4; v++) {
                    const uint8x16_t digit = vqtbl1q_u8(table, index[v]);
                    bytes[v][d] = g == 0 ? digit : vaddq_u8(bytes[v][d], digit);
                }
            }
        }
        for (int v = 0; v < 4; v++) {
            for (int d = 0; d < digits; d++) {
                const uint16x8_t pairs = vreinterpretq_u16_u8(bytes[v][d]);
                all[v][d] = vaddq_u16(all[v][d], pairs);
                odd[v][d] = vsraq_n_u16(odd[v][d], pairs, 8);
            }
        }
    }
    for (int v = 0; v < 4; v++) {
        for (int d = 0; d < digits; d++) run->all[v][d] = all[v][d], run->odd[v][d] = odd[v][d];
    }
}

INLINE void accumulate(const int digits, const uint8_t *bits, size_t rows, const uint8_t *luts, size_t quads,
                       run_sums *run, const int fetches) {
    (void)rows;
    accumulate_groups(digits, bits, 0, luts, quads, run, fetches);
}

INLINE void accumulate_indices(const int digits, const uint8_t *indices, const uint8_t *luts, size_t quads,
                               run_sums *run) {
    accumulate_groups(digits, indices, 1, luts, quads, run, 0);
}

INLINE void expand(const uint8_t *bits, size_t quads, uint8_t *indices) {
    for (size_t group = 0; group < quads * groups_per_quad; group++, bits += 32, indices += 64) {
        if (group % groups_per_quad == 0) fetch_quad(bits);
        uint8x16_t index[4];
        split_nibbles(bits, index);
        for (int v = 0; v < 4; v++) vst1q_u8(indices + 16 * v, index[v]);
    }
}

// Per group and digit 16 bytes.
INLINE void tabulate_group(const int16_t *q, const int first_digit, const int digits, int g, uint8_t *luts) {
    tabulate(q, GROUP_COLUMNS, first_digit, digits, luts + g * digits * 16, 16);
}

#include "sign_product_walk.h"
#endif
