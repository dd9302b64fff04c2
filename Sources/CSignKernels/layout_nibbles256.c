// "nibbles256": tiles of up to 256 rows in strips of 64, groups of 4 columns. Per group and strip 32 bytes: the low nibble
// of byte i indexes the sum of row i of the strip's first 32 rows, the high nibble that of the second 32, in the lane
// order of `quarter_lane`. For byte shuffles that look up 16 entries: SSSE3 to AVX-512BW, NEON.
//
// The strips of a tile take turns, `piece_quads` quads of columns each: a tile is read in a straight line, and all of its
// rows meet the look-up tables of a piece while these are in the first-level cache. A last tile of fewer rows has fewer
// strips, the last piece of a row fewer quads.

#include <string.h>

#include "layouts.h"

enum { tile_rows = 256, strip_rows = 64, half = 32, group_columns = 4, group_bytes = 32 };
enum { quad_bytes = groups_per_quad * group_bytes, quad_source_bytes = groups_per_quad * group_columns / 8 };

// 32 rows' bits of one quad, in the order of lanes.
typedef uint16_t quad_words __attribute__((vector_size(64)));
typedef uint8_t group_lanes __attribute__((vector_size(32)));

static size_t quad_count(size_t columns) { return rounded_up_quotient(columns, group_columns * groups_per_quad); }

static size_t byte_count(size_t rows, size_t columns, size_t tiles) {
    const size_t full = tiles * (tile_rows / strip_rows), strips = rounded_up_quotient(rows, strip_rows);
    return (full < strips ? full : strips) * quad_count(columns) * quad_bytes;
}

// Some quads of up to 64 rows, of whose bytes `source_bytes` are there.
static void pack_strip(const uint8_t *bits, size_t bytes_per_row, size_t rows, size_t quads, size_t source_bytes,
                       uint8_t *out) {
    uint16_t words[2][piece_quads][half] = {{{0}}};
    for (size_t i = 0; i < strip_rows && i < rows; i++) {
        const size_t within = i % half, lane = 4 * (within % 8) + quarter_lane(within / 8);
        uint8_t row[piece_quads * quad_source_bytes] = {0};
        if (source_bytes == sizeof row) memcpy(row, bits + i * bytes_per_row, sizeof row);
        else memcpy(row, bits + i * bytes_per_row, source_bytes);
        for (size_t quad = 0; quad < quads; quad++) {
            words[i / half][quad][lane] = (uint16_t)(row[2 * quad] | row[2 * quad + 1] << 8);
        }
    }
    for (size_t quad = 0; quad < quads; quad++) {
        quad_words first, second;
        memcpy(&first, words[0][quad], sizeof first);
        memcpy(&second, words[1][quad], sizeof second);
        for (size_t g = 0; g < groups_per_quad; g++, out += group_bytes) {
            const quad_words both = (first >> 4 * g & 15) | (second >> 4 * g & 15) << 4;
            const group_lanes group = __builtin_convertvector(both, group_lanes);
            memcpy(out, &group, sizeof group);
        }
    }
}

static void pack(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *packed) {
    const size_t quads = quad_count(matrix.columns), row_bytes = rounded_up_quotient(matrix.columns, 8);
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        const size_t first = tile * tile_rows;
        const size_t rows = matrix.rows - first < tile_rows ? matrix.rows - first : tile_rows;
        uint8_t *out = packed + byte_count(matrix.rows, matrix.columns, tile);
        for (size_t quad = 0; quad < quads; quad += piece_quads) {
            const size_t length = quads - quad < piece_quads ? quads - quad : piece_quads;
            const size_t begin = quad * quad_source_bytes, rest = row_bytes - begin;
            const size_t source_bytes = rest < length * quad_source_bytes ? rest : length * quad_source_bytes;
            for (size_t row = 0; row < rows; row += strip_rows, out += length * quad_bytes) {
                pack_strip(matrix.bits + (first + row) * matrix.bytes_per_row + begin, matrix.bytes_per_row, rows - row,
                           length, source_bytes, out);
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
