// Sign products with AVX-512BW, for CPUs without VBMI (Skylake-X, Cascade Lake).
//
// As with AVX2, but a vector takes two groups of columns: its halves look up in the tables of either and are added at
// the end.

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernel_tables.h"
#include "vectors.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl"))), apply_to = function)

#include "look_up_tables.h"

#define VERSION avx512bw
#define LAYOUT sign_kernels_layout_nibbles256
#define GROUP_COLUMNS 4
#define TILE_ROWS 256
#define STRIP_ROWS 64
#define STRIP_GROUP_BYTES(rows) ((size_t)32)
#define PIECE_QUADS piece_quads
#define LUT_DIGIT_BYTES (groups_per_quad * 32)
#define DIGITS_10BIT digits_10bit
#define DIGITS_16BIT digits_16bit
#define OUTLIER_DIGITS 1
#define FETCH_AHEAD 32768
#include "prefetch.h"

// Of rows 0 to 31 and 32 to 63, by digit, in either half the groups that are its own: as in `sign_product_avx2.c`.
typedef struct {
    __m512i all[2][digits_at_most], odd[2][digits_at_most];
} run_sums;

// sums[8q + j] += digit sums of lane 4j + quarter_lane(q) of either half, times 64^digit
INLINE void empty_vector(__m512i all, __m512i odd, const int digit, uint32_t *sums) {
    const __m512i even = _mm512_sub_epi16(all, _mm512_slli_epi16(odd, 8)), low = _mm512_set1_epi32(0xffff);
    const __m512i quarters[4] = {_mm512_and_si512(even, low), _mm512_srli_epi32(even, 16), _mm512_and_si512(odd, low),
                                 _mm512_srli_epi32(odd, 16)};
    for (int q = 0; q < 4; q++) {
        const __m256i both =
            _mm256_add_epi32(_mm512_castsi512_si256(quarters[q]), _mm512_extracti64x4_epi64(quarters[q], 1));
        __m256i *sum = (__m256i *)(sums + 8 * q);
        _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_slli_epi32(both, digit_bits * digit)));
    }
}

INLINE void empty(const int first_digit, const int digits, size_t rows, run_sums *run, uint32_t *sums) {
    (void)rows;
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) {
            empty_vector(run->all[v][d], run->odd[v][d], first_digit + d, sums + 32 * v);
            run->all[v][d] = run->odd[v][d] = _mm512_setzero_si512();
        }
    }
}

INLINE void accumulate(const int digits, const uint8_t *bits, size_t rows, const uint8_t *luts, size_t quads,
                       run_sums *run, const int fetches) {
    (void)rows;
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i all[2][digits_at_most], odd[2][digits_at_most];
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) all[v][d] = run->all[v][d], odd[v][d] = run->odd[v][d];
    }
    // Two quads fill the bytes of four vectors; the last one of an odd number half as far.
    for (size_t quad = 0; quad < quads; quad += 2) {
        const int vectors = quads - quad == 1 ? groups_per_quad / 2 : groups_per_quad;
        __m512i bytes[2][digits_at_most];
        for (int v = 0; v < 2; v++) {
            for (int d = 0; d < digits; d++) bytes[v][d] = _mm512_setzero_si512();
        }
        for (int i = 0; i < vectors; i++, bits += 64) {
            const __m512i groups = _mm512_loadu_si512(bits);
            if (fetches) fetch(bits);
            const __m512i index[2] = {_mm512_and_si512(groups, nibble),
                                      _mm512_and_si512(_mm512_srli_epi16(groups, 4), nibble)};
            for (int d = 0; d < digits; d++, luts += 64) {
                const __m512i table = _mm512_load_si512(luts);
                for (int v = 0; v < 2; v++) {
                    bytes[v][d] = _mm512_add_epi8(bytes[v][d], _mm512_shuffle_epi8(table, index[v]));
                }
            }
        }
        for (int v = 0; v < 2; v++) {
            for (int d = 0; d < digits; d++) {
                all[v][d] = _mm512_add_epi16(all[v][d], bytes[v][d]);
                odd[v][d] = _mm512_add_epi16(odd[v][d], _mm512_srli_epi16(bytes[v][d], 8));
            }
        }
    }
    for (int v = 0; v < 2; v++) {
        for (int d = 0; d < digits; d++) run->all[v][d] = all[v][d], run->odd[v][d] = odd[v][d];
    }
}

// Per pair of groups and digit 64 bytes: the first group's table twice, then the second's.
INLINE void tabulate_group(const int16_t *q, const int first_digit, const int digits, int g, uint8_t *luts) {
    uint8_t *own = luts + g / 2 * digits * 64 + g % 2 * 32;
    tabulate(q, GROUP_COLUMNS, first_digit, digits, own, 64);
    for (int d = 0; d < digits; d++) memcpy(own + 64 * d + 16, own + 64 * d, 16);
}

#include "sign_product_walk.h"

#pragma clang attribute pop
#endif
