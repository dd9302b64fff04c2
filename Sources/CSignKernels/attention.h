// Attention over a part of a sequence's positions, and the sum of several parts. A template, as float_kernels.h says;
// include float_products.h before it. A file that includes it defines
//   ATTENTION_SUMS   vectors of 16 sums that fit into the registers: it changes no bit
//
// Rows (a query head of a token) are taken four at a time: a key or value is widened once for them. Every row's sums
// run over the positions in order, so a row's bits don't depend on the rows beside it.

enum {
    attention_rows = SIGN_KERNELS_ATTENTION_ROWS,
    attention_positions = SIGN_KERNELS_ATTENTION_POSITIONS,
    // Positions whose scores are computed together.
    position_block = 4,
    // Vectors of channels whose results are computed together at the most.
    channel_block = 8,
    // How far ahead keys and values are fetched, in bytes.
    attention_fetch = 8192,
};

// A query row: its floats, zero-filled to whole vectors, its weights, its sums, and how many positions it sees.
typedef struct {
    const float *q;
    float *weights;
    float *sums;
    size_t positions;
} attention_row;

// exp(x − largest), to x, and their sum; how many there are may be 0.
static float KERNEL(attention_weights)(float *x, size_t count, float *largest) {
    v16f value, largest_lanes, sum = {0};
    size_t i = 0;
    fill(-INFINITY, &largest_lanes);
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        const v16i larger = value > largest_lanes;
        choose(&larger, &value, &largest_lanes, &largest_lanes);
    }
    float maximum = maximum_of_lanes(&largest_lanes);
    for (; i < count; i++) maximum = x[i] > maximum ? x[i] : maximum;
    *largest = maximum;

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
    return sum_of_lanes(&sum);
}

// Four sums of eight lanes, each by the tree of `sum_of_lanes`.
INLINE void sums_of_lanes(const v8f *x, v4f *y) {
    const v8f first = __builtin_shufflevector(x[0], x[1], 0, 1, 2, 3, 8, 9, 10, 11)
                      + __builtin_shufflevector(x[0], x[1], 4, 5, 6, 7, 12, 13, 14, 15);
    const v8f second = __builtin_shufflevector(x[2], x[3], 0, 1, 2, 3, 8, 9, 10, 11)
                       + __builtin_shufflevector(x[2], x[3], 4, 5, 6, 7, 12, 13, 14, 15);
    const v8f pairs = __builtin_shufflevector(first, second, 0, 1, 8, 9, 4, 5, 12, 13)
                      + __builtin_shufflevector(first, second, 2, 3, 10, 11, 6, 7, 14, 15);
    const v4f sums =
        __builtin_shufflevector(pairs, pairs, 0, 2, 4, 6) + __builtin_shufflevector(pairs, pairs, 1, 3, 5, 7);
    *y = __builtin_shufflevector(sums, sums, 0, 2, 1, 3);
}

// Scores of `block` positions from p on, of all the rows.
INLINE void attention_score_block(const attention_row *rows, const int count, const int block, size_t p,
                                  sign_kernels_cached_rows keys, size_t size, float scale) {
    v8f eights[attention_rows][position_block] = {{{0}}};
    for (int j = 0; j < block; j++) {
        const uint16_t *key = (const uint16_t *)keys.rows + (p + j) * keys.stride;
        v16f sums[attention_rows] = {{0}}, k, x;
        for (size_t i = 0; i < size; i += lanes) {
            if (i % 32 == 0) __builtin_prefetch((const uint8_t *)(key + i) + attention_fetch, 0, 3);
            widen_float16(key + i, &k);
            for (int r = 0; r < count; r++) {
                load(rows[r].q + i, &x);
                sums[r] += x * k;
            }
        }
        for (int r = 0; r < count; r++) {
            eights[r][j] = __builtin_shufflevector(sums[r], sums[r], 0, 1, 2, 3, 4, 5, 6, 7)
                           + __builtin_shufflevector(sums[r], sums[r], 8, 9, 10, 11, 12, 13, 14, 15);
        }
    }
    for (int r = 0; r < count; r++) {
        v4f scores;
        sums_of_lanes(eights[r], &scores);
        scores *= scale;
        memcpy(rows[r].weights + p, &scores, block * sizeof(float));
    }
}

// Scores of positions begin ≤ p < end.
INLINE void attention_scores(const attention_row *rows, const int count, size_t begin, size_t end,
                             sign_kernels_cached_rows keys, size_t size, float scale) {
    size_t p = begin;
    for (; p + position_block <= end; p += position_block) {
        attention_score_block(rows, count, position_block, p, keys, size, scale);
    }
    for (; p < end; p++) attention_score_block(rows, count, 1, p, keys, size, scale);
}

// sums[r][c] += Σ weights[p] · v_p over begin ≤ p < end, for some vectors of channels from `values` on.
INLINE void attention_mix(const attention_row *rows, const int count, size_t begin, size_t end, const uint16_t *values,
                          size_t stride, const int vectors, v16f sums[][channel_block]) {
    for (size_t p = begin; p < end; p++) {
        const uint16_t *row = values + p * stride;
        for (int c = 0; c < vectors; c++) {
            v16f value;
            if (c % 2 == 0) __builtin_prefetch((const uint8_t *)(row + c * lanes) + attention_fetch, 0, 3);
            widen_float16(row + c * lanes, &value);
            for (int r = 0; r < count; r++) sums[r][c] += value * rows[r].weights[p];
        }
    }
}

// The sums of all rows for some vectors of channels from i on.
INLINE void attention_mix_channels(const attention_row *rows, const int count, size_t common,
                                   sign_kernels_cached_rows values, size_t size, size_t i, const int vectors) {
    const uint16_t *first = (const uint16_t *)values.rows + i;
    v16f sums[attention_rows][channel_block] = {{{0}}};
    attention_mix(rows, count, 0, common, first, values.stride, vectors, sums);
    for (int r = 0; r < count; r++) {
        attention_mix(rows + r, 1, common, rows[r].positions, first, values.stride, vectors, sums + r);
        for (int c = 0; c < vectors; c++) {
            const size_t channel = i + c * lanes;
            if (size - channel >= lanes) store(&sums[r][c], rows[r].sums + channel);
            else store_tail(&sums[r][c], size - channel, rows[r].sums + channel);
        }
    }
}

// The rows in order of their positions, the first sees the fewest.
INLINE void attend_float16_rows(const attention_row *rows, const int count, sign_kernels_cached_rows keys,
                                sign_kernels_cached_rows values, size_t size, float scale, float cap) {
    const int most = ATTENTION_SUMS / count, vectors = most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
    const size_t common = rows[0].positions;
    attention_scores(rows, count, 0, common, keys, size, scale);
    for (int r = 1; r < count; r++) attention_scores(rows + r, 1, common, rows[r].positions, keys, size, scale);
    for (int r = 0; r < count; r++) {
        float *weights = rows[r].weights;
        if (cap != 0) KERNEL(soft_cap)(weights, rows[r].positions, 1, cap, weights);
        rows[r].sums[size + 1] = KERNEL(attention_weights)(weights, rows[r].positions, rows[r].sums + size);
    }
    size_t i = 0;
    for (; i + vectors * lanes <= size; i += vectors * lanes) {
        attention_mix_channels(rows, count, common, values, size, i, vectors);
    }
    for (; i < size; i += lanes) attention_mix_channels(rows, count, common, values, size, i, 1);
}

static void KERNEL(attend_float16)(const attention_row *rows, size_t count, sign_kernels_cached_rows keys,
                                   sign_kernels_cached_rows values, size_t size, float scale, float cap) {
    switch (count) {
    case 4: attend_float16_rows(rows, 4, keys, values, size, scale, cap); return;
    case 3: attend_float16_rows(rows, 3, keys, values, size, scale, cap); return;
    case 2: attend_float16_rows(rows, 2, keys, values, size, scale, cap); return;
    default: attend_float16_rows(rows, 1, keys, values, size, scale, cap); return;
    }
}

#include "attention_int8.h"

static void KERNEL(attention)(const float *q, size_t query_stride, size_t tokens, size_t heads,
                              sign_kernels_cached_rows keys, sign_kernels_cached_rows values, ptrdiff_t positions,
                              size_t size, float scale, float cap, float *scratch, float *part) {
    const size_t padded = (size + lanes - 1) / lanes * lanes, row_size = padded + attention_positions;
    const size_t total = tokens * heads;
    for (size_t first = 0; first < total; first += attention_rows) {
        attention_row rows[attention_rows];
        const size_t count = total - first < attention_rows ? total - first : attention_rows;
        for (size_t r = 0; r < count; r++) {
            const size_t t = (first + r) / heads, offset = t * query_stride + (first + r) % heads * size;
            const ptrdiff_t seen = positions + (ptrdiff_t)t;
            float *query = scratch + r * row_size;
            memcpy(query, q + offset, size * sizeof *query);
            memset(query + size, 0, (padded - size) * sizeof *query);
            rows[r] = (attention_row){query, query + padded, part + (first + r) * (size + 2),
                                      seen < 0 ? 0 : seen < attention_positions ? (size_t)seen : attention_positions};
        }
        if (keys.scales == NULL) KERNEL(attend_float16)(rows, count, keys, values, size, scale, cap);
        else KERNEL(attend_int8)(rows, count, keys, values, size, scale, cap);
    }
}

// Both have a sum relative to their own largest score; the common one is the larger.
static void KERNEL(attention_merge)(const float *part, size_t rows, size_t size, float *sums) {
    for (size_t r = 0; r < rows; r++, part += size + 2, sums += size + 2) {
        const float largest = part[size] > sums[size] ? part[size] : sums[size];
        v16f differences = {0}, factors;
        differences[0] = sums[size] - largest;
        differences[1] = part[size] - largest;
        exponential(&differences, &factors);
        const float a = factors[0], b = factors[1];
        for (size_t i = 0; i < size; i++) sums[i] = sums[i] * a + part[i] * b;
        sums[size + 1] = sums[size + 1] * a + part[size + 1] * b;
        sums[size] = largest;
    }
}
