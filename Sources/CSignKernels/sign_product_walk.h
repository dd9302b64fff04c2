// How a sign product walks over tiles, tokens and columns, written once and compiled for every instruction set.
//
// The rows of a tile are taken in strips, its columns in pieces of some quads. All strips pass over the look-up tables of a
// piece while these are in the first-level cache, and of several tokens each takes its turn on a piece of a strip: so a
// tile is read from memory once for all of them, and their tables from the second level once a tile.
//
// A file that includes this one defines
//   VERSION                     of the instruction set, the end of every function's name
//   LAYOUT                      the layout
//   GROUP_COLUMNS               columns of a group
//   TILE_ROWS, STRIP_ROWS       rows of a tile and of a strip
//   STRIP_GROUP_BYTES(rows)     bytes of a group in a strip of some rows
//   PIECE_QUADS                 quads of a piece
//   LUT_DIGIT_BYTES             bytes of the look-up tables of a quad, per digit
//   DIGITS_10BIT, DIGITS_16BIT  digits of an entry
//   OUTLIER_DIGITS              1 where 10-bit tables have no room for outliers, 0 where they do
//   run_sums                    the sums of a strip's rows over a run of quads, in whatever form; zero is all zeros
//   accumulate(digits, bits, rows, luts, quads, sums, fetches)   adds Σ T[row r's bits] over some quads of groups of a
//                               strip; with `fetches` it fetches ahead what follows `bits` in memory
//   INDEX_BYTES                 where defined: bytes of the indices of a strip's quad, which for several tokens are taken out
//                               of the bits once, a byte each, by
//   expand(bits, quads, indices), which fetches ahead, and read by
//   accumulate_indices(digits, indices, luts, quads, sums)
//   empty(first_digit, digits, rows, run, sums)   sums[r] += run[r] · 64^first_digit, and run = 0
//   tabulate_group(q, first_digit, digits, g, luts)   the tables of group g of a quad
//   TABULATE_TWO_DIGIT_QUAD(q, luts)   where defined: digits 0 and 1 of a whole quad, faster
// No include guard: it is a template. Include <string.h>, kernel_tables.h and vectors.h before it.

enum {
    // Tokens that take turns.
    token_block = 8,
    // Quads after which the 16-bit sums of a run must be emptied: 256 · 4 · 63 < 2^16. Whole pieces.
    longest_run = 256 / PIECE_QUADS * PIECE_QUADS,
    quad_columns = GROUP_COLUMNS * groups_per_quad,
    strips_per_tile = TILE_ROWS / STRIP_ROWS,
};

INLINE size_t quad_count(size_t columns) { return rounded_up_quotient(columns, quad_columns); }

INLINE size_t rows_of_strip(size_t rows, size_t strip) {
    const size_t rest = rows - strip * STRIP_ROWS;
    return rest < STRIP_ROWS ? rest : STRIP_ROWS;
}

// The groups that hold a token's outliers, one for each slot that is used; the others repeat one, or have no outlier.
typedef struct {
    size_t groups[SIGN_KERNELS_OUTLIERS];
    int is_used[SIGN_KERNELS_OUTLIERS];
    int count;
} outlier_groups;

INLINE void find_outlier_groups(const sign_kernels_quantized *input, outlier_groups *result) {
    result->count = 0;
    for (int slot = 0; slot < SIGN_KERNELS_OUTLIERS; slot++) {
        const uint32_t column = input->outliers[slot];
        const size_t group = column == SIGN_KERNELS_NO_OUTLIER ? 0 : column / GROUP_COLUMNS;
        int is_used = column != SIGN_KERNELS_NO_OUTLIER;
        for (int other = 0; other < slot; other++) {
            if (result->is_used[other] && result->groups[other] == group) is_used = 0;
        }
        result->groups[slot] = group;
        result->is_used[slot] = is_used;
        result->count += is_used;
    }
}

// The third digit of a token's outliers: their groups make up a quad of their own.
INLINE void add_outliers(const uint8_t *tile, size_t rows, size_t quads, const uint8_t *luts,
                         const outlier_groups *outliers, uint32_t *sums) {
    const size_t strips = rounded_up_quotient(rows, STRIP_ROWS);
    for (size_t strip = 0; strip < strips; strip++) {
        const size_t strip_rows = rows_of_strip(rows, strip), group_bytes = STRIP_GROUP_BYTES(strip_rows);
        _Alignas(SIGN_KERNELS_ALIGNMENT) uint8_t bits[groups_per_quad * STRIP_GROUP_BYTES(STRIP_ROWS)];
        for (int slot = 0; slot < SIGN_KERNELS_OUTLIERS; slot++) {
            const size_t group = outliers->groups[slot], quad = group / groups_per_quad / PIECE_QUADS * PIECE_QUADS;
            const size_t length = quads - quad < PIECE_QUADS ? quads - quad : PIECE_QUADS;
            const size_t before = (quad * strips + strip * length) * groups_per_quad;
            memcpy(bits + slot * group_bytes, tile + (before + group % (groups_per_quad * PIECE_QUADS)) * group_bytes,
                   group_bytes);
        }
        run_sums run;
        memset(&run, 0, sizeof run);
        accumulate(1, bits, strip_rows, luts, 1, &run, 0);
        empty(digits_10bit, 1, strip_rows, &run, sums + strip * STRIP_ROWS);
    }
}

// Some quads of a strip times some tokens, whose tables of these quads are lut_stride apart; runs: one every
// strips_per_tile.
INLINE void accumulate_strip(const int digits, const uint8_t *bits, size_t rows, const uint8_t *luts, size_t lut_stride,
                             size_t quads, size_t tokens, run_sums *runs) {
#ifdef INDEX_BYTES
    if (tokens > 1) {
        _Alignas(SIGN_KERNELS_ALIGNMENT) uint8_t indices[PIECE_QUADS * INDEX_BYTES];
        expand(bits, quads, indices);
        for (size_t i = 0; i < tokens; i++) {
            accumulate_indices(digits, indices, luts + i * lut_stride, quads, runs + i * strips_per_tile);
        }
        return;
    }
#endif
    // The first token fetches what follows, the others find everything there.
    accumulate(digits, bits, rows, luts, quads, runs, 1);
    for (size_t i = 1; i < tokens; i++) {
        accumulate(digits, bits, rows, luts + i * lut_stride, quads, runs + i * strips_per_tile, 0);
    }
}

// One tile times some tokens, at most `token_block`; sums: [tokens, TILE_ROWS].
INLINE void accumulate_tile(const int digits, const uint8_t *tile, size_t rows, size_t quads, const uint8_t *luts,
                            size_t lut_stride, size_t tokens, uint32_t sums[][TILE_ROWS]) {
    const size_t strips = rounded_up_quotient(rows, STRIP_ROWS);
    run_sums runs[token_block][strips_per_tile];
    memset(runs, 0, tokens * sizeof runs[0]);
    memset(sums, 0, tokens * sizeof sums[0]);
    for (size_t quad = 0; quad < quads; quad += PIECE_QUADS) {
        const size_t length = quads - quad < PIECE_QUADS ? quads - quad : PIECE_QUADS;
        const uint8_t *own = luts + quad * (size_t)digits * LUT_DIGIT_BYTES;
        for (size_t strip = 0; strip < strips; strip++) {
            const size_t strip_rows = rows_of_strip(rows, strip);
            accumulate_strip(digits, tile, strip_rows, own, lut_stride, length, tokens, runs[0] + strip);
            tile += length * groups_per_quad * STRIP_GROUP_BYTES(strip_rows);
        }
        const size_t end = quad + length;
        if (end % longest_run != 0 && end != quads) continue;
        for (size_t i = 0; i < tokens; i++) {
            for (size_t strip = 0; strip < strips; strip++) {
                empty(0, digits, rows_of_strip(rows, strip), &runs[i][strip], sums[i] + strip * STRIP_ROWS);
            }
        }
    }
}

// outlier_bytes: of the outliers' tables in front of a token's others; 0 without.
INLINE void walk(const int digits, const size_t outlier_bytes, sign_kernels_packed_matrix matrix, size_t tile_begin,
                 size_t tile_end, const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs,
                 size_t tokens, int32_t *y, size_t output_stride) {
    const size_t quads = quad_count(matrix.columns);
    for (size_t t = 0; t < tokens; t += token_block) {
        const size_t count = tokens - t < token_block ? tokens - t : token_block;
        const uint8_t *own = luts + t * lut_stride;
        outlier_groups outliers[token_block];
        for (size_t i = 0; outlier_bytes > 0 && i < count; i++) find_outlier_groups(inputs + t + i, &outliers[i]);
        for (size_t tile = tile_begin; tile < tile_end; tile++) {
            const size_t first = tile * TILE_ROWS;
            const size_t rows = matrix.rows - first < TILE_ROWS ? matrix.rows - first : TILE_ROWS;
            const uint8_t *bytes = matrix.bytes + (LAYOUT).byte_count(matrix.rows, matrix.columns, tile);
            _Alignas(SIGN_KERNELS_ALIGNMENT) uint32_t sums[token_block][TILE_ROWS];
            accumulate_tile(digits, bytes, rows, quads, own + outlier_bytes, lut_stride, count, sums);
            for (size_t i = 0; i < count; i++) {
                if (outlier_bytes > 0 && outliers[i].count > 0) {
                    add_outliers(bytes, rows, quads, own + i * lut_stride, &outliers[i], sums[i]);
                }
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

enum { outlier_lut_bytes = OUTLIER_DIGITS * LUT_DIGIT_BYTES };

size_t VERSIONED(lut_bytes_10bit)(size_t columns) {
    return outlier_lut_bytes + quad_count(columns) * DIGITS_10BIT * LUT_DIGIT_BYTES;
}
size_t VERSIONED(lut_bytes_16bit)(size_t columns) { return quad_count(columns) * DIGITS_16BIT * LUT_DIGIT_BYTES; }

INLINE void tabulate_quad(const int16_t *q, const int digits, uint8_t *luts) {
#ifdef TABULATE_TWO_DIGIT_QUAD
    if (digits == digits_10bit) {
        TABULATE_TWO_DIGIT_QUAD(q, luts);
        return;
    }
#endif
    for (int g = 0; g < groups_per_quad; g++) tabulate_group(q + GROUP_COLUMNS * g, 0, digits, g, luts);
}

INLINE void build_luts(const int digits, const int16_t *q, size_t quad_begin, size_t quad_end, uint8_t *luts) {
    for (size_t quad = quad_begin; quad < quad_end; quad++) {
        tabulate_quad(q + quad * quad_columns, digits, luts + quad * (size_t)digits * LUT_DIGIT_BYTES);
    }
}

void VERSIONED(build_luts_10bit)(const int16_t *q, const sign_kernels_quantized *input, size_t quad_begin,
                                 size_t quad_end, uint8_t *luts) {
    if (OUTLIER_DIGITS && quad_begin == 0) {
        outlier_groups outliers;
        find_outlier_groups(input, &outliers);
        memset(luts, 0, outlier_lut_bytes);
        for (int slot = 0; slot < SIGN_KERNELS_OUTLIERS; slot++) {
            if (!outliers.is_used[slot]) continue;
            tabulate_group(q + outliers.groups[slot] * GROUP_COLUMNS, digits_10bit, 1, slot, luts);
        }
    }
    build_luts(DIGITS_10BIT, q, quad_begin, quad_end, luts + outlier_lut_bytes);
}

void VERSIONED(build_luts_16bit)(const int16_t *q, const sign_kernels_quantized *input, size_t quad_begin,
                                 size_t quad_end, uint8_t *luts) {
    (void)input;
    build_luts(DIGITS_16BIT, q, quad_begin, quad_end, luts);
}

void VERSIONED(product_10bit)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                              const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs,
                              size_t tokens, int32_t *y, size_t output_stride) {
    walk(DIGITS_10BIT, outlier_lut_bytes, matrix, tile_begin, tile_end, luts, lut_stride, inputs, tokens, y,
         output_stride);
}

void VERSIONED(product_16bit)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                              const uint8_t *luts, size_t lut_stride, const sign_kernels_quantized *inputs,
                              size_t tokens, int32_t *y, size_t output_stride) {
    walk(DIGITS_16BIT, 0, matrix, tile_begin, tile_end, luts, lut_stride, inputs, tokens, y, output_stride);
}
