// Sign products in plain C, one look-up at a time: the version that every other one is held against.
//
// Its tables hold whole sums, not digits: T[i] as uint32, 16 a group.

#include <string.h>

#include "kernel_tables.h"

#define VERSION portable
#define LAYOUT sign_kernels_layout_nibbles64
#define TILE_ROWS 64
#define TILE_GROUP_BYTES(rows) 32
#define PIECE_AHEAD 32768
#define TABLE_DIGIT_BYTES (groups_per_quad * entries * sizeof(uint32_t))
#define DIGITS_INT8 1
#define DIGITS_INT16 1

enum { group_columns = 4, entries = 16 };

static void accumulate(int digits, const uint8_t *tile, size_t rows, const uint8_t *tables, size_t quads,
                       uint32_t *sums, const uint8_t *ahead) {
    (void)digits, (void)rows, (void)ahead;
    for (size_t group = 0; group < groups_per_quad * quads; group++) {
        uint32_t table[entries];
        memcpy(table, tables + group * sizeof table, sizeof table);
        for (size_t i = 0; i < 32; i++) {
            const uint8_t bits = tile[group * 32 + 4 * (i % 8) + quarter_lane(i / 8)];
            sums[i] += table[bits & 15];
            sums[32 + i] += table[bits >> 4];
        }
    }
}

#define DEFINE_TABULATE_QUAD(precision, integer)                                             \
    static void tabulate_quad_##precision(const integer *q, uint8_t *tables) {               \
        for (size_t group = 0; group < groups_per_quad; group++) {                           \
            const integer *x = q + group * group_columns;                                    \
            uint32_t table[entries] = {0};                                                   \
            for (int i = 0; i < entries; i++) {                                              \
                for (int j = 0; j < group_columns; j++) {                                    \
                    const int disagrees = (i >> j & 1) != (x[j] < 0);                        \
                    table[i] += disagrees ? (uint32_t)(x[j] < 0 ? -x[j] : x[j]) : 0;         \
                }                                                                            \
            }                                                                                \
            memcpy(tables + group * sizeof table, table, sizeof table);                      \
        }                                                                                    \
    }

DEFINE_TABULATE_QUAD(int8, int8_t)
DEFINE_TABULATE_QUAD(int16, int16_t)

#include "sign_product_walk.h"
