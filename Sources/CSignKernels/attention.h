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

enum { attention_rows = SIGN_KERNELS_ATTENTION_ROWS };

// A query row: its floats, zero-filled to whole vectors, its weights, its result, and how many positions it sees.
typedef struct {
    const float *q;
    float *weights;
    float *y;
    size_t positions;
} attention_row;

// weights[p] = q · k_p · scale for positions begin ≤ p < end of all the rows.
INLINE void attention_scores(const attention_row *rows, const int count, size_t begin, size_t end,
                             const uint16_t *keys, size_t stride, size_t size, float scale) {
    for (size_t p = begin; p < end; p++) {
        const uint16_t *key = keys + p * stride;
        v16f sums[attention_rows] = {{0}}, k, x;
        for (size_t i = 0; i < size; i += lanes) {
            widen_float16(key + i, &k);
            for (int r = 0; r < count; r++) {
                load(rows[r].q + i, &x);
                sums[r] += x * k;
            }
        }
        for (int r = 0; r < count; r++) rows[r].weights[p] = sum_of_lanes(&sums[r]) * scale;
    }
}

// sums[r] += Σ weights[p] · v_p over begin ≤ p < end, for 16 channels from `values` on.
INLINE void attention_mix(const attention_row *rows, const int count, size_t begin, size_t end, const uint16_t *values,
                          size_t stride, v16f *sums) {
    for (size_t p = begin; p < end; p++) {
        v16f value;
        widen_float16(values + p * stride, &value);
        for (int r = 0; r < count; r++) sums[r] += value * rows[r].weights[p];
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
    for (size_t i = 0; i < size; i += lanes) {
        const size_t width = size - i < lanes ? size - i : lanes;
        v16f sums[attention_rows] = {{0}};
        attention_mix(rows, count, 0, common, values + i, stride, sums);
        for (int r = 0; r < count; r++) {
            attention_mix(rows + r, 1, common, rows[r].positions, values + i, stride, sums + r);
            if (width == lanes) store(&sums[r], rows[r].y + i);
            else store_tail(&sums[r], width, rows[r].y + i);
        }
    }
}

static void KERNEL(attention)(const float *q, size_t query_stride, size_t tokens, size_t heads, const uint16_t *keys,
                              const uint16_t *values, size_t stride, size_t positions, size_t size, float scale,
                              float *weights, float *y) {
    const size_t padded = (size + lanes - 1) / lanes * lanes, room = padded + positions + tokens;
    const size_t total = tokens * heads;
    for (size_t first = 0; first < total; first += attention_rows) {
        attention_row rows[attention_rows];
        const size_t count = total - first < attention_rows ? total - first : attention_rows;
        for (size_t r = 0; r < count; r++) {
            const size_t t = (first + r) / heads, offset = t * query_stride + (first + r) % heads * size;
            float *query = weights + r * room;
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
