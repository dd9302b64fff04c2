// Sign products in plain C, one look-up at a time: the reference that every other version is compared with.
//
// Its tables hold whole sums, not digits: T[i] as uint32, 16 a group.

#include <string.h>

#include "kernel_tables.h"
#include "vectors.h"

#define VERSION portable
#define LAYOUT sign_kernels_layout_nibbles256
#define GROUP_COLUMNS 4
#define TILE_ROWS 256
#define STRIP_ROWS 64
#define STRIP_GROUP_BYTES(rows) ((size_t)32)
#define PIECE_QUADS piece_quads
#define LUT_DIGIT_BYTES (groups_per_quad * entries * sizeof(uint32_t))
#define DIGITS_10BIT 1
#define DIGITS_16BIT 1
#define OUTLIER_DIGITS 0

enum { entries = 16, digits_10bit = 1 };

typedef struct {
    uint32_t sums[STRIP_ROWS];
} run_sums;

static void accumulate(int digits, const uint8_t *bits, size_t rows, const uint8_t *luts, size_t quads, run_sums *run,
                       int fetches) {
    (void)digits, (void)rows, (void)fetches;
    for (size_t group = 0; group < groups_per_quad * quads; group++) {
        uint32_t table[entries];
        memcpy(table, luts + group * sizeof table, sizeof table);
        for (size_t i = 0; i < 32; i++) {
            const uint8_t pair = bits[group * 32 + 4 * (i % 8) + quarter_lane(i / 8)];
            run->sums[i] += table[pair & 15];
            run->sums[32 + i] += table[pair >> 4];
        }
    }
}

static void empty(int first_digit, int digits, size_t rows, run_sums *run, uint32_t *sums) {
    (void)first_digit, (void)digits, (void)rows;
    for (size_t i = 0; i < STRIP_ROWS; i++) sums[i] += run->sums[i];
    memset(run, 0, sizeof *run);
}

static void tabulate_group(const int16_t *x, int first_digit, int digits, int g, uint8_t *luts) {
    (void)first_digit, (void)digits;
    uint32_t table[entries] = {0};
    for (int i = 0; i < entries; i++) {
        for (int j = 0; j < GROUP_COLUMNS; j++) {
            const int disagrees = (i >> j & 1) != (x[j] < 0);
            table[i] += disagrees ? (uint32_t)(x[j] < 0 ? -x[j] : x[j]) : 0;
        }
    }
    memcpy(luts + (size_t)g * sizeof table, table, sizeof table);
}

#include "sign_product_walk.h"
