// Sign products in plain C, one look-up at a time: the reference that every other version is compared with.
//
// Its tables hold whole sums, not digits: T[i] as uint32, 16 a group.

#include <string.h>

#include "kernel_tables.h"
#include "vectors.h"

#define VERSION portable
#define LAYOUT sign_kernels_layout_nibbles64
#define GROUP_COLUMNS 4
#define TILE_ROWS 64
#define TILE_GROUP_BYTES(rows) 32
#define PIECE_AHEAD 32768
#define LUT_DIGIT_BYTES (groups_per_quad * entries * sizeof(uint32_t))
#define DIGITS_INT8 1
#define DIGITS_INT16 1

enum { entries = 16 };

static void accumulate(int digits, const uint8_t *tile, size_t rows, const uint8_t *luts, size_t quads,
                       uint32_t *sums, const uint8_t *ahead) {
    (void)digits, (void)rows, (void)ahead;
    for (size_t group = 0; group < groups_per_quad * quads; group++) {
        uint32_t table[entries];
        memcpy(table, luts + group * sizeof table, sizeof table);
        for (size_t i = 0; i < 32; i++) {
            const uint8_t bits = tile[group * 32 + 4 * (i % 8) + quarter_lane(i / 8)];
            sums[i] += table[bits & 15];
            sums[32 + i] += table[bits >> 4];
        }
    }
}

static void tabulate_group(const int32_t x[GROUP_COLUMNS], uint8_t *luts) {
    uint32_t table[entries] = {0};
    for (int i = 0; i < entries; i++) {
        for (int j = 0; j < GROUP_COLUMNS; j++) {
            const int disagrees = (i >> j & 1) != (x[j] < 0);
            table[i] += disagrees ? (uint32_t)(x[j] < 0 ? -x[j] : x[j]) : 0;
        }
    }
    memcpy(luts, table, sizeof table);
}

static void tabulate_quad_int8(const int8_t *q, uint8_t *luts) {
    for (int g = 0; g < groups_per_quad; g++, q += GROUP_COLUMNS) {
        tabulate_group((int32_t[]){q[0], q[1], q[2], q[3]}, luts + g * entries * sizeof(uint32_t));
    }
}

static void tabulate_quad_int16(const int16_t *q, uint8_t *luts) {
    for (int g = 0; g < groups_per_quad; g++, q += GROUP_COLUMNS) {
        tabulate_group((int32_t[]){q[0], q[1], q[2], q[3]}, luts + g * entries * sizeof(uint32_t));
    }
}

#include "sign_product_walk.h"
