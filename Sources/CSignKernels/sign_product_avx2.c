// Sign products with AVX2: byte shuffles look up 16 entries, 32 rows at a time.
//
// Per group of 4 columns and 64 rows: 32 bytes of bits in, two indices out of every byte, and per index and digit one
// shuffle and one byte addition; every four groups the bytes are added to 16-bit sums of even and odd lanes.

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernel_tables.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)

#include "look_up_tables.h"

#define VERSION avx2
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
#include "prefetch.h"

// Of rows 0 to 31 and 32 to 63, by digit: 16-bit sums of all lanes, an odd one counted 256 times, which may wrap (the even
// lanes come out right), and of the odd lanes.
typedef struct {
    __m256i all[2][digits_at_most], odd[2][digits_at_most];
} run_sums;

// sums[8q + j] += digit sums of lane 4j + quarter_lane(q), times 64^digit
INLINE void empty_vector(__m256i all, __m256i odd, const int digit, uint32_t *sums) {
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8)), low = _mm256_set1_epi32(0xffff);
    const __m256i quarters[4] = {_mm256_and_si256(even, low), _mm256_srli_epi32(even, 16), _mm256_and_si256(odd, low),
                                 _mm256_srli_epi32(odd, 16)};
    for (int q = 0; q < 4; q++) {
        __m256i *sum = (__m256i *)(sums + 8 * q);
        _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_slli_epi32(quarters[q], digit_bits * digit)));
    }
}

INLINE void empty(const int first_digit, const int digits, size_t rows, run_sums *run, uint32_t *sums) {
    (void)rows;
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) {
            empty_vector(run->all[v][d], run->odd[v][d], first_digit + d, sums + 32 * v);
            run->all[v][d] = run->odd[v][d] = _mm256_setzero_si256();
        }
    }
}

INLINE void split_nibbles(const uint8_t *bits, __m256i index[2]) {
    const __m256i group = _mm256_loadu_si256((const __m256i *)bits), nibble = _mm256_set1_epi8(15);
    index[0] = _mm256_and_si256(group, nibble);
    index[1] = _mm256_and_si256(_mm256_srli_epi16(group, 4), nibble);
}

// Vectors v_begin ≤ v < v_end of the two; `bits` of packed groups, or with `expanded` two vectors of indices.
INLINE void accumulate_vectors(const int digits, const int v_begin, const int v_end, const uint8_t *bits,
                               const int expanded, const uint8_t *luts, size_t quads, run_sums *run,
                               const int fetches) {
    const __m256i odd_lanes = _mm256_set1_epi16(0x0100);
    __m256i all[2][digits_at_most], odd[2][digits_at_most];
    for (int v = v_begin; v < v_end; v++) {
        for (int d = 0; d < digits; d++) all[v][d] = run->all[v][d], odd[v][d] = run->odd[v][d];
    }
    for (size_t quad = 0; quad < quads; quad++) {
        __m256i bytes[2][digits_at_most];
#pragma clang loop unroll(full)
        for (int g = 0; g < groups_per_quad; g++, bits += expanded ? 64 : 32) {
            if (fetches && g % 2 == 0) fetch(bits);
            __m256i index[2];
            if (expanded) {
                for (int v = v_begin; v < v_end; v++) index[v] = _mm256_load_si256((const __m256i *)(bits + 32 * v));
            } else {
                split_nibbles(bits, index);
            }
            for (int d = 0; d < digits; d++, luts += 16) {
                const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)luts));
                for (int v = v_begin; v < v_end; v++) {
                    const __m256i digit = _mm256_shuffle_epi8(table, index[v]);
                    bytes[v][d] = g == 0 ? digit : _mm256_add_epi8(bytes[v][d], digit);
                    // Keeps the additions in this order: as a tree they need more registers than there are.
                    __asm__("" : "+x"(bytes[v][d]));
                }
            }
        }
        for (int v = v_begin; v < v_end; v++) {
            for (int d = 0; d < digits; d++) {
                all[v][d] = _mm256_add_epi16(all[v][d], bytes[v][d]);
                odd[v][d] = _mm256_add_epi16(odd[v][d], _mm256_maddubs_epi16(bytes[v][d], odd_lanes));
            }
        }
    }
    for (int v = v_begin; v < v_end; v++) {
        for (int d = 0; d < digits; d++) run->all[v][d] = all[v][d], run->odd[v][d] = odd[v][d];
    }
}

// The sums of two digits of 64 rows fill the sixteen registers; with three, those of 32 rows do.
INLINE void accumulate_halves(const int digits, const uint8_t *bits, const int expanded, const uint8_t *luts,
                              size_t quads, run_sums *run, const int fetches) {
    if (digits <= digits_10bit) {
        accumulate_vectors(digits, 0, 2, bits, expanded, luts, quads, run, fetches);
    } else {
        accumulate_vectors(digits, 0, 1, bits, expanded, luts, quads, run, fetches);
        accumulate_vectors(digits, 1, 2, bits, expanded, luts, quads, run, 0);
    }
}

INLINE void accumulate(const int digits, const uint8_t *bits, size_t rows, const uint8_t *luts, size_t quads,
                       run_sums *run, const int fetches) {
    (void)rows;
    accumulate_halves(digits, bits, 0, luts, quads, run, fetches);
}

INLINE void accumulate_indices(const int digits, const uint8_t *indices, const uint8_t *luts, size_t quads,
                               run_sums *run) {
    accumulate_halves(digits, indices, 1, luts, quads, run, 0);
}

INLINE void expand(const uint8_t *bits, size_t quads, uint8_t *indices) {
    for (size_t group = 0; group < quads * groups_per_quad; group++, bits += 32, indices += 64) {
        if (group % 2 == 0) fetch(bits);
        __m256i index[2];
        split_nibbles(bits, index);
        for (int v = 0; v < 2; v++) _mm256_store_si256((__m256i *)(indices + 32 * v), index[v]);
    }
}

// Per group and digit 16 bytes.
INLINE void tabulate_group(const int16_t *q, const int first_digit, const int digits, int g, uint8_t *luts) {
    tabulate(q, GROUP_COLUMNS, first_digit, digits, luts + g * digits * 16, 16);
}

#include "sign_product_walk.h"

#pragma clang attribute pop
#endif
