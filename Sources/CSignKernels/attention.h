// Attention over keys and values in 16-bit floats. A template, as float_kernels.h says; include float_products.h before
// it.
//
// Rows (a query head of a token) are taken four at a time: a key or value is widened once for them. Every row's sums
// run over the positions in order, so a row's bits don't depend on the rows beside it.

static void KERNEL(softmax)(float *x, size_t count) {
    v16f value, largest, sum = {0};
    size_t i = 0;
    fill(-INFINITY, &largest);
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        const v16i larger = value > largest;
        choose(&larger, &value, &largest, &largest);
    }
    float maximum = maximum_of_lanes(&largest);
    for (; i < count; i++) maximum = x[i] > maximum ? x[i] : maximum;

    for (i = 0; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        value -= maximum;
        exponential(&value, &value);
        store(&value, x + i);
        sum += value;
    }
    if (i < count) {
        // Stored and loaded again so that the lanes beyond `count` are cleared before the sum.
        load_tail(x + i, count - i, &value);
        value -= maximum;
        exponential(&value, &value);
        store_tail(&value, count - i, x + i);
        load_tail(x + i, count - i, &value);
        sum += value;
    }
    const float scale = 1.0f / sum_of_lanes(&sum);
    for (i = 0; i < count; i++) x[i] *= scale;
}

enum {
    attention_rows = SIGN_KERNELS_ATTENTION_ROWS,
    // Positions whose scores, and vectors of channels whose results, are computed together.
    position_block = 4,
    channel_block = 4,
};

// A query row: its floats, zero-filled to whole vectors, its weights, its result, and how many positions it sees.
typedef struct {
    const float *q;
    float *weights;
    float *y;
    size_t positions;
} attention_row;

// weights[p] = q · k_p · scale for `positions` positions from p on, of all the rows.
INLINE void attention_score_block(const attention_row *rows, const int count, size_t p, const int positions,
                                  const uint16_t *keys, size_t stride, size_t size, float scale) {
    v16f sums[attention_rows][position_block] = {{{0}}}, x;
    for (size_t i = 0; i < size; i += lanes) {
        v16f k[position_block];
        for (int j = 0; j < positions; j++) widen_float16(keys + (p + j) * stride + i, &k[j]);
        for (int r = 0; r < count; r++) {
            load(rows[r].q + i, &x);
            for (int j = 0; j < positions; j++) sums[r][j] += x * k[j];
        }
    }
    for (int r = 0; r < count; r++) {
        for (int j = 0; j < positions; j++) rows[r].weights[p + j] = sum_of_lanes(&sums[r][j]) * scale;
    }
}

// The same for positions begin ≤ p < end. Each position's sum is a chain of additions of its own; several at a time hide
// the time that one takes.
INLINE void attention_scores(const attention_row *rows, const int count, size_t begin, size_t end,
                             const uint16_t *keys, size_t stride, size_t size, float scale) {
    size_t p = begin;
    for (; p + position_block <= end; p += position_block) {
        attention_score_block(rows, count, p, position_block, keys, stride, size, scale);
    }
    for (; p < end; p++) attention_score_block(rows, count, p, 1, keys, stride, size, scale);
}

// sums[r][c] += Σ weights[p] · v_p over begin ≤ p < end, for some vectors of channels from `values` on.
INLINE void attention_mix(const attention_row *rows, const int count, size_t begin, size_t end, const uint16_t *values,
                          size_t stride, const int vectors, v16f sums[][channel_block]) {
    for (size_t p = begin; p < end; p++) {
        for (int c = 0; c < vectors; c++) {
            v16f value;
            widen_float16(values + p * stride + c * lanes, &value);
            for (int r = 0; r < count; r++) sums[r][c] += value * rows[r].weights[p];
        }
    }
}

// The results of all rows for some vectors of channels from i on.
INLINE void attention_results(const attention_row *rows, const int count, size_t common, const uint16_t *values,
                              size_t stride, size_t size, size_t i, const int vectors) {
    v16f sums[attention_rows][channel_block] = {{{0}}};
    attention_mix(rows, count, 0, common, values + i, stride, vectors, sums);
    for (int r = 0; r < count; r++) {
        attention_mix(rows + r, 1, common, rows[r].positions, values + i, stride, vectors, sums + r);
        for (int c = 0; c < vectors; c++) {
            const size_t first = i + c * lanes;
            if (size - first >= lanes) store(&sums[r][c], rows[r].y + first);
            else store_tail(&sums[r][c], size - first, rows[r].y + first);
        }
    }
}

// The rows in order of their positions, the first sees the fewest.
INLINE void attend(const attention_row *rows, const int count, const uint16_t *keys, const uint16_t *values,
                   size_t stride, size_t size, float scale) {
    const size_t common = rows[0].positions;
    attention_scores(rows, count, 0, common, keys, stride, size, scale);
    for (int r = 1; r < count; r++) {
        attention_scores(rows + r, 1, common, rows[r].positions, keys, stride, size, scale);
    }
    for (int r = 0; r < count; r++) KERNEL(softmax)(rows[r].weights, rows[r].positions);
    size_t i = 0;
    for (; i + channel_block * lanes <= size; i += channel_block * lanes) {
        attention_results(rows, count, common, values, stride, size, i, channel_block);
    }
    for (; i < size; i += lanes) attention_results(rows, count, common, values, stride, size, i, 1);
}

static void KERNEL(attention)(const float *q, size_t query_stride, size_t tokens, size_t heads, const uint16_t *keys,
                              const uint16_t *values, size_t stride, size_t positions, size_t size, float scale,
                              float *scratch, float *y) {
    const size_t padded = (size + lanes - 1) / lanes * lanes, row_size = padded + positions + tokens;
    const size_t total = tokens * heads;
    for (size_t first = 0; first < total; first += attention_rows) {
        attention_row rows[attention_rows];
        const size_t count = total - first < attention_rows ? total - first : attention_rows;
        for (size_t r = 0; r < count; r++) {
            const size_t t = (first + r) / heads, offset = t * query_stride + (first + r) % heads * size;
            float *query = scratch + r * row_size;
            memcpy(query, q + offset, size * sizeof *query);
            memset(query + size, 0, (padded - size) * sizeof *query);
            rows[r] = (attention_row){query, query + padded, y + offset, positions + t};
        }
        switch (count) {
        case 4: attend(rows, 4, keys, values, stride, size, scale); break;
        case 3: attend(rows, 3, keys, values, stride, size, scale); break;
        case 2: attend(rows, 2, keys, values, stride, size, scale); break;
        default: attend(rows, 1, keys, values, stride, size, scale); break;
        }
    }
}
