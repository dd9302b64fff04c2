// "nibbles64": tiles of 64 rows, groups of 4 columns. Per group 32 bytes: the low nibble of byte i indexes the sum of row
// i of the tile's first 32 rows, the high nibble that of the second 32, in the lane order of `quarter_lane`.
// For byte shuffles that look up 16 entries: SSSE3 to AVX-512BW, NEON.

#include <string.h>

#include "layouts.h"

enum { tile_rows = 64, half = 32, group_columns = 4, group_bytes = 32 };

static size_t group_count(size_t columns) {
    return rounded_up_quotient(columns, group_columns * groups_per_quad) * groups_per_quad;
}

static size_t byte_count(size_t rows, size_t columns, size_t tiles) {
    (void)rows;
    return tiles * group_count(columns) * group_bytes;
}

static void pack(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *packed) {
    const size_t groups = group_count(matrix.columns), row_bytes = rounded_up_quotient(matrix.columns, 8);
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        uint8_t *out = packed + tile * groups * group_bytes;
        memset(out, 0, groups * group_bytes);
        for (size_t i = 0; i < tile_rows; i++) {
            const size_t row = tile * tile_rows + i;
            if (row >= matrix.rows) break;
            const uint8_t *bits = matrix.bits + row * matrix.bytes_per_row;
            const size_t within = i % half, lane = 4 * (within % 8) + quarter_lane(within / 8);
            const unsigned shift = i < half ? 0 : 4;
            for (size_t k = 0; k < row_bytes; k++) {
                out[2 * k * group_bytes + lane] |= (uint8_t)((bits[k] & 15) << shift);
                out[(2 * k + 1) * group_bytes + lane] |= (uint8_t)((bits[k] >> 4) << shift);
            }
        }
    }
}

const sign_kernels_layout sign_kernels_layout_nibbles64 = {
    .name = "nibbles64",
    .group_columns = group_columns,
    .tile_rows = tile_rows,
    .byte_count = byte_count,
    .pack = pack,
};
