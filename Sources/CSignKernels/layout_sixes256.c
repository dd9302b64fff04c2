// "sixes256": tiles of up to 256 rows, groups of 6 columns, for byte shuffles that look up 64 entries (AVX-512 VBMI).
//
// A full tile holds, per group, 192 bytes: the low six bits of its three vectors of 64 bytes index the sums of rows 0 to
// 63, 64 to 127 and 128 to 191; the top two bits of the three make up the index of rows 192 to 255, most significant
// first. A last tile of at most 64 (128) rows holds 64 (128) bytes per group with the top bits unused, so that small
// matrices stay small. Lanes of a vector in the order of `quarter_lane`.

#include "layouts.h"

enum { tile_rows = 256, vector_rows = 64, group_columns = 6 };

static size_t group_count(size_t columns) {
    return rounded_up_quotient(columns, group_columns * groups_per_quad) * groups_per_quad;
}

// Bytes of a group in a tile of some rows.
static size_t group_bytes(size_t rows) { return rows <= 64 ? 64 : rows <= 128 ? 128 : 192; }

static size_t byte_count(size_t rows, size_t columns, size_t tiles) {
    const size_t full = rows / tile_rows, groups = group_count(columns);
    if (tiles <= full) return tiles * groups * 192;
    return full * groups * 192 + groups * group_bytes(rows - full * tile_rows);
}

// Six bits of each of four groups from the three bytes that hold them.
static uint32_t quad_bits(const sign_kernels_matrix *matrix, size_t row, size_t quad) {
    const size_t row_bytes = rounded_up_quotient(matrix->columns, 8), first = 3 * quad;
    if (row >= matrix->rows || first >= row_bytes) return 0;
    const uint8_t *bits = matrix->bits + row * matrix->bytes_per_row + first;
    return load_bits(bits, row_bytes - first < 3 ? row_bytes - first : 3);
}

static void pack(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *packed) {
    const size_t quads = group_count(matrix.columns) / groups_per_quad;
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        const size_t first = tile * tile_rows;
        const size_t bytes = group_bytes(matrix.rows - first);
        uint8_t *out = packed + byte_count(matrix.rows, matrix.columns, tile);
        for (size_t quad = 0; quad < quads; quad++) {
            for (size_t i = 0; i < vector_rows; i++) {
                const size_t lane = 4 * (i % 16) + quarter_lane(i / 16);
                const uint32_t last = bytes == 192 ? quad_bits(&matrix, first + 192 + i, quad) : 0;
                for (size_t vector = 0; vector < bytes / 64; vector++) {
                    const uint32_t own = quad_bits(&matrix, first + vector * vector_rows + i, quad);
                    for (size_t g = 0; g < groups_per_quad; g++) {
                        const uint32_t top = last >> (6 * g + 4 - 2 * vector) & 3;
                        out[(quad * groups_per_quad + g) * bytes + vector * 64 + lane] =
                            (uint8_t)((own >> 6 * g & 63) | top << 6);
                    }
                }
            }
        }
    }
}

const sign_kernels_layout sign_kernels_layout_sixes256 = {
    .name = "sixes256",
    .group_columns = group_columns,
    .tile_rows = tile_rows,
    .byte_count = byte_count,
    .pack = pack,
};
