// How a sign product walks over tiles, tokens and columns, written once and compiled for every instruction set.
//
// One token passes through a tile at once. Several take turns on a piece of the tile that the first-level cache holds,
// so that a tile is read from memory once for all of them and their tables from the second level.
//
// A file that includes this one defines
//   VERSION                     of the instruction set, the end of every function's name
//   LAYOUT                      the layout
//   GROUP_COLUMNS               columns of a group
//   TILE_ROWS                   rows of a tile
//   TILE_GROUP_BYTES(rows)      bytes of a group in a tile of some rows
//   PIECE_AHEAD                 bytes of a tile that one token fetches ahead
//   LUT_DIGIT_BYTES             bytes of the look-up tables of a quad, per digit
//   DIGITS_INT8, DIGITS_INT16   digits of an entry
//   accumulate(digits, tile, rows, luts, quads, sums, ahead)   sums[r] += Σ T[row r's bits] over some quads of groups;
//                               meanwhile fetches the `quads` quads at `ahead`, of as many bytes
//   tabulate_quad_int8(q, luts), _int16                        the look-up tables of one quad
// No include guard: it is a template. Include <string.h>, kernel_tables.h and vectors.h before it.

enum {
    // Tokens that take turns.
    token_block = 8,
    // Bytes of a tile that several tokens take turns on.
    shared_piece = 12288,
    // Quads after which the 16-bit sums of the tile kernels must be emptied: 256 · 4 · 63 < 2^16.
    longest_run = 256,
    quad_columns = GROUP_COLUMNS * groups_per_quad,
};

INLINE size_t quad_count(size_t columns) { return rounded_up_quotient(columns, quad_columns); }

INLINE void walk(const int digits, sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                 const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs, size_t tokens,
                 int32_t *y, size_t output_stride) {
    const size_t quads = quad_count(matrix.columns);
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
                    const uint8_t *own = luts + (t + i) * lut_stride;
                    // The first token fetches the next piece, the others find everything there.
                    const uint8_t *ahead = i == 0 ? piece + length * quad_bytes : piece;
                    accumulate(digits, piece, rows, own + quad * digits * LUT_DIGIT_BYTES, length, sums[i], ahead);
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
#define JOIN(name, version) JOIN_NAMES(name, version)
#define VERSIONED(name) JOIN(name, VERSION)

size_t VERSIONED(lut_bytes_int8)(size_t columns) { return quad_count(columns) * DIGITS_INT8 * LUT_DIGIT_BYTES; }
size_t VERSIONED(lut_bytes_int16)(size_t columns) { return quad_count(columns) * DIGITS_INT16 * LUT_DIGIT_BYTES; }

void VERSIONED(build_luts_int8)(const int8_t *q, size_t quad_begin, size_t quad_end, uint8_t *luts) {
    for (size_t quad = quad_begin; quad < quad_end; quad++) {
        tabulate_quad_int8(q + quad * quad_columns, luts + quad * DIGITS_INT8 * LUT_DIGIT_BYTES);
    }
}

void VERSIONED(build_luts_int16)(const int16_t *q, size_t quad_begin, size_t quad_end, uint8_t *luts) {
    for (size_t quad = quad_begin; quad < quad_end; quad++) {
        tabulate_quad_int16(q + quad * quad_columns, luts + quad * DIGITS_INT16 * LUT_DIGIT_BYTES);
    }
}

void VERSIONED(product_int8)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                             const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs,
                             size_t tokens, int32_t *y, size_t output_stride) {
    walk(DIGITS_INT8, matrix, tile_begin, tile_end, luts, lut_stride, inputs, tokens, y, output_stride);
}

void VERSIONED(product_int16)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                              const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs,
                              size_t tokens, int32_t *y, size_t output_stride) {
    walk(DIGITS_INT16, matrix, tile_begin, tile_end, luts, lut_stride, inputs, tokens, y, output_stride);
}
