// Products of some tokens with a dense matrix whose rows lie in panels. A template: a file that includes it sets the
// target, includes dense_kernels.h and vectors.h, and defines
//   DENSE(name)          what a function is called in this version
//   INPUT                the type of an input's elements
//   STEP_COLUMNS         columns that one step along a panel takes
//   TILE_TOKENS          tokens whose sums fit into the registers
//   STEP_BYTES(type)     bytes of a step of a panel of that type
//   STEP(type, panel, x, stride, tokens, sums)   adds a step to the sums [tokens][2] of 32 rows
//
// Each output is one chain of sums along the columns, in their order. It depends on its row and its token alone: not on
// the tokens beside it, and not on how panels and tokens are shared out.
//
// No include guard: it is a template.

// y[t][0 ..< outputs] of one panel. Meanwhile a share of the next panel, `ahead`, is fetched: panels come from memory, and
// one is used in about the time that the next takes to come.
INLINE void DENSE(tile)(const int tokens, const sign_kernels_float_type type, const uint8_t *panel, size_t steps,
                        const INPUT *x, size_t stride, const uint8_t *ahead, size_t ahead_bytes, size_t outputs,
                        float *y, size_t output_stride) {
    v16f sums[TILE_TOKENS][2] = {{{0}}};
    const size_t ahead_step = ahead_bytes / steps;
    for (size_t step = 0; step < steps; step++) {
        for (size_t line = 0; line < ahead_step; line += 64) __builtin_prefetch(ahead + step * ahead_step + line, 0, 2);
        STEP(type, panel + step * STEP_BYTES(type), x + step * STEP_COLUMNS, stride, tokens, sums);
    }
    for (int j = 0; j < tokens; j++) {
        float *row = y + j * output_stride;
        if (outputs == dense_panel_rows) memcpy(row, sums[j], sizeof sums[j]);
        else memcpy(row, sums[j], outputs * sizeof *row);
    }
}

INLINE void DENSE(product_of)(const sign_kernels_float_type type, const uint8_t *panels, size_t rows, size_t columns,
                              size_t panel_begin, size_t panel_end, const INPUT *inputs, size_t tokens, float *y,
                              size_t output_stride) {
    const size_t steps = (columns + STEP_COLUMNS - 1) / STEP_COLUMNS, stride = steps * STEP_COLUMNS;
    const size_t panel_bytes = steps * STEP_BYTES(type);
    const size_t tiles = (tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    for (size_t p = panel_begin; p < panel_end; p++) {
        const uint8_t *panel = panels + p * panel_bytes, *next = p + 1 < panel_end ? panel + panel_bytes : panel;
        const size_t row = p * dense_panel_rows;
        const size_t outputs = rows - row < dense_panel_rows ? rows - row : dense_panel_rows;
        for (size_t tile = 0; tile < tiles; tile++) {
            // Tiles of one size, or of two that differ by one.
            const size_t begin = tokens * tile / tiles, count = tokens * (tile + 1) / tiles - begin;
            const INPUT *x = inputs + begin * stride;
            float *output = y + begin * output_stride + row;
            const uint8_t *ahead = next + panel_bytes * tile / tiles;
#define TILE(n)                                                                                                        \
    case n:                                                                                                            \
        DENSE(tile)(n, type, panel, steps, x, stride, ahead, panel_bytes / tiles, outputs, output, output_stride);     \
        break;
            switch (count) {
                TILE(1)
                TILE(2)
                TILE(3)
#if TILE_TOKENS > 3
                TILE(4)
                TILE(5)
                TILE(6)
                TILE(7)
                TILE(8)
                TILE(9)
                TILE(10)
                TILE(11)
                TILE(12)
#endif
            }
#undef TILE
        }
    }
}
