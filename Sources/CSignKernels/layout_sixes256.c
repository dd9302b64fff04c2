// "sixes256": tiles of up to 256 rows, groups of 6 columns, for byte shuffles that look up 64 entries (AVX-512 VBMI).
//
// A full tile holds, per group, 192 bytes: the low six bits of its three vectors of 64 bytes index the sums of rows 0 to
// 63, 64 to 127 and 128 to 191; the top two bits of the three make up the index of rows 192 to 255, most significant
// first. A last tile of at most 64 (128) rows holds 64 (128) bytes per group with the top bits unused, so that small
// matrices stay small. Lanes of a vector in the order of `quarter_lane`.

#include <string.h>

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

enum { block_quads = 8, quad_source_bytes = 3 };

// Bits of a quad of 16 rows, and a byte for each.
typedef uint32_t quad_words __attribute__((vector_size(64)));
typedef uint8_t group_lanes __attribute__((vector_size(16)));

// Some quads of a tile, of whose bytes in every row `source_bytes` are there.
static void pack_quads(const uint8_t *bits, size_t bytes_per_row, size_t rows, size_t quads, size_t source_bytes,
                       uint8_t *out) {
    uint32_t words[block_quads][tile_rows / vector_rows][vector_rows] = {{{0}}};
    for (size_t i = 0; i < rows; i++) {
        const size_t within = i % vector_rows, lane = 4 * (within % 16) + quarter_lane(within / 16);
        uint8_t row[block_quads * quad_source_bytes + 1] = {0};
        if (source_bytes == block_quads * quad_source_bytes) memcpy(row, bits + i * bytes_per_row, sizeof row - 1);
        else memcpy(row, bits + i * bytes_per_row, source_bytes);
        for (size_t quad = 0; quad < quads; quad++) {
            uint32_t word;
            memcpy(&word, row + quad * quad_source_bytes, sizeof word);
            words[quad][i / vector_rows][lane] = word;
        }
    }
    const size_t vectors = group_bytes(rows) / vector_rows;
    for (size_t quad = 0; quad < quads; quad++) {
        for (size_t g = 0; g < groups_per_quad; g++) {
            for (size_t vector = 0; vector < vectors; vector++) {
                for (size_t i = 0; i < vector_rows; i += 16, out += 16) {
                    quad_words own, last;
                    memcpy(&own, words[quad][vector] + i, sizeof own);
                    // Zero unless the tile is a full one.
                    memcpy(&last, words[quad][3] + i, sizeof last);
                    const quad_words index = (own >> 6 * g & 63) | (last >> (6 * g + 4 - 2 * vector) & 3) << 6;
                    const group_lanes lanes = __builtin_convertvector(index, group_lanes);
                    memcpy(out, &lanes, sizeof lanes);
                }
            }
        }
    }
}

static void pack(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *packed) {
    const size_t quads = group_count(matrix.columns) / groups_per_quad;
    const size_t row_bytes = rounded_up_quotient(matrix.columns, 8);
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        const size_t first = tile * tile_rows;
        const size_t rows = matrix.rows - first < tile_rows ? matrix.rows - first : tile_rows;
        uint8_t *out = packed + byte_count(matrix.rows, matrix.columns, tile);
        for (size_t quad = 0; quad < quads; quad += block_quads) {
            const size_t length = quads - quad < block_quads ? quads - quad : block_quads;
            const size_t begin = quad * quad_source_bytes, rest = row_bytes > begin ? row_bytes - begin : 0;
            const size_t source_bytes = rest < length * quad_source_bytes ? rest : length * quad_source_bytes;
            pack_quads(matrix.bits + first * matrix.bytes_per_row + begin, matrix.bytes_per_row, rows, length,
                       source_bytes, out);
            out += length * groups_per_quad * group_bytes(rows);
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
