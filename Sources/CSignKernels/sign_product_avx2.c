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
#define LAYOUT sign_kernels_layout_nibbles64
#define GROUP_COLUMNS 4
#define TILE_ROWS 64
#define TILE_GROUP_BYTES(rows) 32
#define PIECE_AHEAD 32768
#define LUT_DIGIT_BYTES (groups_per_quad * 16)
#define DIGITS_INT8 digits_int8
#define DIGITS_INT16 digits_int16
#include "prefetch.h"

// sums[8q + j] += digit sums of lane 4j + quarter_lane(q), times 64^digit
INLINE void empty_sums(__m256i all, __m256i odd, const int digit, uint32_t *sums) {
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8)), low = _mm256_set1_epi32(0xffff);
    const __m256i quarters[4] = {_mm256_and_si256(even, low), _mm256_srli_epi32(even, 16), _mm256_and_si256(odd, low),
                                 _mm256_srli_epi32(odd, 16)};
    for (int q = 0; q < 4; q++) {
        __m256i *sum = (__m256i *)(sums + 8 * q);
        _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_slli_epi32(quarters[q], digit_bits * digit)));
    }
}

INLINE void accumulate(const int digits, const uint8_t *tile, size_t rows, const uint8_t *luts, size_t quads,
                       uint32_t *sums, const uint8_t *ahead) {
    (void)rows;
    const __m256i nibble = _mm256_set1_epi8(15);
    // Of rows 0 to 31 and 32 to 63. `all` counts an odd lane 256 times and may wrap; the even lanes come out right.
    __m256i all[2][digits_int16], odd[2][digits_int16];
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) all[v][d] = odd[v][d] = _mm256_setzero_si256();
    }
    for (size_t quad = 0; quad < quads; quad++) {
        __m256i bytes[2][digits_int16];
        for (int g = 0; g < groups_per_quad; g++, tile += 32) {
            const __m256i bits = _mm256_loadu_si256((const __m256i *)tile);
            if (g % 2 == 0) fetch(ahead + 32 * g, tile);
            const __m256i index[2] = {_mm256_and_si256(bits, nibble),
                                      _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble)};
            for (int d = 0; d < digits; d++, luts += 16) {
                const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)luts));
                for (int v = 0; v < 2; v++) {
                    const __m256i digit = _mm256_shuffle_epi8(table, index[v]);
                    bytes[v][d] = g == 0 ? digit : _mm256_add_epi8(bytes[v][d], digit);
                }
            }
        }
        ahead += 32 * groups_per_quad;
        for (int v = 0; v < 2; v++) {
            for (int d = 0; d < digits; d++) {
                all[v][d] = _mm256_add_epi16(all[v][d], bytes[v][d]);
                odd[v][d] = _mm256_add_epi16(odd[v][d], _mm256_srli_epi16(bytes[v][d], 8));
            }
        }
    }
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) empty_sums(all[v][d], odd[v][d], d, sums + 32 * v);
    }
}

// Per group and digit 16 bytes.
INLINE void tabulate_quad_int8(const int8_t *q, uint8_t *luts) {
    for (int g = 0; g < groups_per_quad; g++) tabulate_int8(q + 4 * g, 4, luts + g * digits_int8 * 16, 16);
}

INLINE void tabulate_quad_int16(const int16_t *q, uint8_t *luts) {
    for (int g = 0; g < groups_per_quad; g++) tabulate_int16(q + 4 * g, 4, luts + g * digits_int16 * 16, 16);
}

#include "sign_product_walk.h"

#pragma clang attribute pop
#endif
