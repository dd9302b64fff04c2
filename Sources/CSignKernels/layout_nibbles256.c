// "nibbles256": tiles of up to 256 rows in strips of 64, groups of 4 columns. Per group and strip 32 bytes: the low nibble
// of byte i indexes the sum of row i of the strip's first 32 rows, the high nibble that of the second 32, in the lane
// order of `quarter_lane`. For byte shuffles that look up 16 entries: SSSE3 to AVX-512BW, NEON.
//
// The strips of a tile take turns, `piece_quads` quads of columns each: a tile is read in a straight line, and all of its
// rows meet the look-up tables of a piece while these are in the first-level cache. A last tile of fewer rows has fewer
// strips, the last piece of a row fewer quads.

#include "layouts.h"

enum { tile_rows = 256, strip_rows = 64, half = 32, group_columns = 4, group_bytes = 32 };
enum { quad_bytes = groups_per_quad * group_bytes, quad_source_bytes = groups_per_quad * group_columns / 8 };

static size_t quad_count(size_t columns) { return rounded_up_quotient(columns, group_columns * groups_per_quad); }

static size_t byte_count(size_t rows, size_t columns, size_t tiles) {
    const size_t full = tiles * (tile_rows / strip_rows), strips = rounded_up_quotient(rows, strip_rows);
    return (full < strips ? full : strips) * quad_count(columns) * quad_bytes;
}

// One quad of a strip, whose rows' bytes begin at `bits`.
static void pack_quad(const uint8_t *bits, size_t bytes_per_row, size_t rows, size_t source_bytes, uint8_t *out) {
    for (size_t within = 0; within < half; within++) {
        const uint8_t *row = bits + within * bytes_per_row;
        const uint32_t first = within < rows ? load_bits(row, source_bytes) : 0;
        const uint32_t second = within + half < rows ? load_bits(row + half * bytes_per_row, source_bytes) : 0;
        uint8_t *lane = out + 4 * (within % 8) + quarter_lane(within / 8);
        for (size_t g = 0; g < groups_per_quad; g++) {
            lane[g * group_bytes] = (uint8_t)((first >> 4 * g & 15) | (second >> 4 * g & 15) << 4);
        }
    }
}

static void pack(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *packed) {
    const size_t quads = quad_count(matrix.columns), row_bytes = rounded_up_quotient(matrix.columns, 8);
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        const size_t first = tile * tile_rows;
        const size_t rows = matrix.rows - first < tile_rows ? matrix.rows - first : tile_rows;
        uint8_t *out = packed + byte_count(matrix.rows, matrix.columns, tile);
        for (size_t piece = 0; piece < quads; piece += piece_quads) {
            const size_t length = quads - piece < piece_quads ? quads - piece : piece_quads;
            for (size_t row = 0; row < rows; row += strip_rows) {
                const uint8_t *bits = matrix.bits + (first + row) * matrix.bytes_per_row;
                for (size_t quad = piece; quad < piece + length; quad++, out += quad_bytes) {
                    const size_t begin = quad * quad_source_bytes, rest = row_bytes - begin;
                    pack_quad(bits + begin, matrix.bytes_per_row, rows - row,
                              rest < quad_source_bytes ? rest : quad_source_bytes, out);
                }
            }
        }
    }
}

const sign_kernels_layout sign_kernels_layout_nibbles256 = {
    .name = "nibbles256",
    .group_columns = group_columns,
    .tile_rows = tile_rows,
    .byte_count = byte_count,
    .pack = pack,
};
