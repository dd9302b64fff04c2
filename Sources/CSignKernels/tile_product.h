// Products of matrices in 32-bit floats that are both read as they are, for training. A template, as float_kernels.h says; a
// file that includes it defines
//   TILE_ROWS, TILE_VECTORS   rows and vectors of columns whose sums fit into the registers
//   MULTIPLY_ADD(a, b, c)     c += a ⊙ b for vectors, rounded once where the CPU can: unlike the other kernels', the last
//                             bits of these results depend on the version

// c[r][n] = Σ_k a[r · row + k · column] b[k][n], added to what c holds where `adds`, for one tile.
INLINE void product_tile(const int vectors, const int adds, const float *a, size_t row, size_t column, const float *b,
                         size_t b_stride, size_t depth, float *c, size_t c_stride) {
    v16f sums[TILE_ROWS][TILE_VECTORS] = {{{0}}};
    if (adds) {
        for (int r = 0; r < TILE_ROWS; r++) {
            for (int n = 0; n < vectors; n++) load(c + r * c_stride + n * lanes, &sums[r][n]);
        }
    }
    for (size_t k = 0; k < depth; k++) {
        v16f numbers[TILE_VECTORS], factor;
        for (int n = 0; n < vectors; n++) load(b + k * b_stride + n * lanes, &numbers[n]);
        for (int r = 0; r < TILE_ROWS; r++) {
            fill(a[r * row + k * column], &factor);
            for (int n = 0; n < vectors; n++) MULTIPLY_ADD(numbers[n], factor, sums[r][n]);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++) {
        for (int n = 0; n < vectors; n++) store(&sums[r][n], c + r * c_stride + n * lanes);
    }
}

// The same of `rows` × `columns`, multiples of TILE_ROWS and of `lanes`.
INLINE void product_of_tiles(const int adds, size_t rows, size_t columns, size_t depth, const float *a, size_t row,
                             size_t column, const float *b, size_t b_stride, float *c, size_t c_stride) {
    size_t n = 0;
    for (; n + TILE_VECTORS * lanes <= columns; n += TILE_VECTORS * lanes) {
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            product_tile(TILE_VECTORS, adds, a + r * row, row, column, b + n, b_stride, depth, c + r * c_stride + n,
                         c_stride);
        }
    }
    for (; n < columns; n += lanes) {
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            product_tile(1, adds, a + r * row, row, column, b + n, b_stride, depth, c + r * c_stride + n, c_stride);
        }
    }
}

// Rows of the inner dimension that are packed at a time.
enum { tile_depth = 256 };

// One tile of c[r][n] += Σ_k a[k][r] b[k][n], of which `columns` are wanted: those of a fraction of a vector go through
// padded copies.
INLINE void add_to_tile(const float *a, const float *b, size_t b_stride, size_t depth, size_t rows, size_t columns,
                        float *c, size_t c_stride) {
    float numbers[tile_depth * lanes], sums[TILE_ROWS * lanes];
    size_t n = 0;
    if (rows == TILE_ROWS) {
        for (; n + TILE_VECTORS * lanes <= columns; n += TILE_VECTORS * lanes) {
            product_tile(TILE_VECTORS, 1, a, 1, TILE_ROWS, b + n, b_stride, depth, c + n, c_stride);
        }
    }
    for (; n < columns; n += lanes) {
        const size_t width = columns - n < lanes ? columns - n : lanes;
        memset(numbers, 0, sizeof numbers);
        memset(sums, 0, sizeof sums);
        for (size_t k = 0; k < depth; k++) memcpy(numbers + k * lanes, b + k * b_stride + n, width * sizeof *b);
        for (size_t r = 0; r < rows; r++) memcpy(sums + r * lanes, c + r * c_stride + n, width * sizeof *c);
        product_tile(1, 1, a, 1, TILE_ROWS, numbers, lanes, depth, sums, lanes);
        for (size_t r = 0; r < rows; r++) memcpy(c + r * c_stride + n, sums + r * lanes, width * sizeof *c);
    }
}

static void KERNEL(add_transposed_product)(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t depth,
                                           size_t rows, size_t columns, float *c, size_t c_stride) {
    for (size_t k = 0; k < depth; k += tile_depth) {
        const size_t count = depth - k < tile_depth ? depth - k : tile_depth;
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            const size_t height = rows - r < TILE_ROWS ? rows - r : TILE_ROWS;
            float packed[tile_depth * TILE_ROWS];
            for (size_t i = 0; i < count; i++) {
                const float *source = a + (k + i) * a_stride + r;
                for (size_t j = 0; j < TILE_ROWS; j++) packed[i * TILE_ROWS + j] = j < height ? source[j] : 0;
            }
            add_to_tile(packed, b + k * b_stride, b_stride, count, height, columns, c + r * c_stride, c_stride);
        }
    }
}
