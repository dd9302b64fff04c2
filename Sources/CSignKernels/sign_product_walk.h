// How a sign product walks over tiles, tokens and columns, written once and compiled for every instruction set.
//
// One token passes through a tile at once. Several take turns on a piece of the tile that the first-level cache holds,
// so that a tile is read from memory once for all of them and their tables from the second level.
//
// A file that includes this one defines
//   VERSION                     of the instruction set, the end of every function's name
//   LAYOUT                      the layout
//   TILE_ROWS                   rows of a tile
//   TILE_GROUP_BYTES(rows)      bytes of a group in a tile of some rows
//   PIECE_AHEAD                 bytes of a tile that one token fetches ahead
//   TABLE_DIGIT_BYTES           bytes of the tables of a quad, per digit
//   DIGITS_INT8, DIGITS_INT16   digits of an entry
//   accumulate(digits, tile, rows, tables, quads, sums, ahead)   sums[r] += Σ T[row r's bits] over some quads of groups;
//                               meanwhile fetches the `quads` quads at `ahead`, of as many bytes
//   tabulate_quad_int8(q, tables), _int16                 the tables of one quad
// No include guard: it is a template. Include <string.h> and kernel_tables.h before it.

enum {
    // Tokens that take turns.
    token_block = 8,
    // Bytes of a tile that several tokens take turns on.
    shared_piece = 12288,
    // Quads after which the 16-bit sums of the tile kernels must be emptied: 256 · 4 · 63 < 2^16.
    longest_run = 256,
};

static inline __attribute__((always_inline)) void walk(const int digits, sign_kernels_packed_matrix matrix,
                                                       size_t tile_begin, size_t tile_end, const uint8_t *tables,
                                                       size_t table_stride, const sign_kernels_quantized *inputs,
                                                       size_t tokens, int32_t *y, size_t output_stride) {
    const size_t quads = rounded_up_quotient(matrix.columns, (LAYOUT).group_columns * groups_per_quad);
    for (size_t tile = tile_begin; tile < tile_end; tile++) {
        const size_t first = tile * TILE_ROWS;
        const size_t rows = matrix.rows - first < TILE_ROWS ? matrix.rows - first : TILE_ROWS;
        const size_t quad_bytes = groups_per_quad * TILE_GROUP_BYTES(rows);
        const uint8_t *bytes = matrix.bytes + (LAYOUT).byte_count(matrix.rows, matrix.columns, tile);
        const size_t fitting = (tokens == 1 ? PIECE_AHEAD : shared_piece) / quad_bytes;
        const size_t run = fitting < longest_run ? fitting : longest_run;
        for (size_t t = 0; t < tokens; t += token_block) {
            const size_t count = tokens - t < token_block ? tokens - t : token_block;
            _Alignas(SIGN_KERNELS_ALIGNMENT) uint32_t sums[token_block][TILE_ROWS];
            memset(sums, 0, count * sizeof sums[0]);
            for (size_t quad = 0; quad < quads; quad += run) {
                const size_t length = quads - quad < run ? quads - quad : run;
                const uint8_t *piece = bytes + quad * quad_bytes;
                for (size_t i = 0; i < count; i++) {
                    const uint8_t *own = tables + (t + i) * table_stride;
                    // The first token fetches the next piece, the others find everything there.
                    const uint8_t *ahead = i == 0 ? piece + length * quad_bytes : piece;
                    accumulate(digits, piece, rows, own + quad * digits * TABLE_DIGIT_BYTES, length, sums[i], ahead);
                }
            }
            for (size_t i = 0; i < count; i++) {
                // Unsigned: twice the sum may wrap, the whole does not.
                const uint32_t magnitude = (uint32_t)inputs[t + i].magnitude;
                int32_t *out = y + (t + i) * output_stride + (tile - tile_begin) * TILE_ROWS;
                for (size_t r = 0; r < rows; r++) out[r] = (int32_t)(magnitude - 2 * sums[i][r]);
            }
        }
    }
}

#define JOIN_NAMES(name, version) sign_kernels_##name##__##version
#define VERSIONED(name, version) JOIN_NAMES(name, version)

#define DEFINE_SIGN_PRODUCT(precision, integer, digits)                                                        \
    size_t VERSIONED(table_bytes_##precision, VERSION)(size_t columns) {                                       \
        return rounded_up_quotient(columns, (LAYOUT).group_columns * groups_per_quad) * (digits) * TABLE_DIGIT_BYTES; \
    }                                                                                                          \
    void VERSIONED(build_tables_##precision, VERSION)(const integer *q, size_t quad_begin, size_t quad_end,    \
                                                      uint8_t *tables) {                                       \
        const size_t quad_columns = (LAYOUT).group_columns * groups_per_quad;                                  \
        for (size_t quad = quad_begin; quad < quad_end; quad++) {                                              \
            tabulate_quad_##precision(q + quad * quad_columns, tables + quad * (digits) * TABLE_DIGIT_BYTES);  \
        }                                                                                                      \
    }                                                                                                          \
    void VERSIONED(product_##precision, VERSION)(sign_kernels_packed_matrix matrix, size_t tile_begin,         \
                                                 size_t tile_end, const uint8_t *tables, size_t table_stride,  \
                                                 const sign_kernels_quantized *inputs, size_t tokens, int32_t *y, \
                                                 size_t output_stride) {                                       \
        walk(digits, matrix, tile_begin, tile_end, tables, table_stride, inputs, tokens, y, output_stride);    \
    }

DEFINE_SIGN_PRODUCT(int8, int8_t, DIGITS_INT8)
DEFINE_SIGN_PRODUCT(int16, int16_t, DIGITS_INT16)
