// Attention over keys and values in 8-bit integers with a scale per row. A template, as float_kernels.h says;
// attention.h includes it. Beside what int8_product.h wants, a file that includes it defines
//   add_pairs(const v32i16 *a, const int16_t *b, v16i *sum)   adds a_2i b_2i + a_2i+1 b_2i+1 to lane i
//
// Queries and weights become integers too, so that every sum is exact, and what several rows do beyond the positions
// that one of them sees adds zero to it.

enum {
    int8_channels = SIGN_KERNELS_INT8_HEAD_PADDING,
    // Magnitude of a query's largest number: 512 channels of it times 128 sum to less than 2^31, as 256 positions of a
    // 16-bit weight do.
    query_magnitude = 8191,
};

// A row of `attend_int8`: integers in place of floats.
typedef struct {
    int16_t q[SIGN_KERNELS_INT8_HEAD_SIZE];
    int16_t weights[attention_positions];
    float scale;
} int8_attention_row;

INLINE void widen_bytes(const int8_t *x, v32i16 *y) {
    v32i8 bytes;
    memcpy(&bytes, x, sizeof bytes);
    *y = __builtin_convertvector(bytes, v32i16);
}

// Scores of positions 0 ≤ p < end, of all the rows.
INLINE void int8_scores(const attention_row *rows, const int8_attention_row *integers, const int count, size_t end,
                        sign_kernels_cached_rows keys, size_t size, float scale) {
    for (size_t p = 0; p < end; p += position_block) {
        typedef int32_t v4i __attribute__((vector_size(16)));
        typedef int32_t v8i __attribute__((vector_size(32)));
        v4i fours[attention_rows][position_block] = {{{0}}};
        const size_t block = end - p < position_block ? end - p : position_block;
        for (size_t j = 0; j < block; j++) {
            const int8_t *key = (const int8_t *)keys.rows + (p + j) * keys.stride;
            v16i sums[attention_rows] = {{0}};
            v32i16 k;
            for (size_t i = 0; i < size; i += int8_channels) {
                if (i % 64 == 0) __builtin_prefetch(key + i + attention_fetch, 0, 3);
                widen_bytes(key + i, &k);
                for (int r = 0; r < count; r++) add_products(&k, integers[r].q + i, &sums[r]);
            }
            for (int r = 0; r < count; r++) {
                const v8i eight = __builtin_shufflevector(sums[r], sums[r], 0, 1, 2, 3, 4, 5, 6, 7)
                                  + __builtin_shufflevector(sums[r], sums[r], 8, 9, 10, 11, 12, 13, 14, 15);
                fours[r][j] = __builtin_shufflevector(eight, eight, 0, 1, 2, 3)
                              + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
            }
        }
        v4f key_scales = {0};
        memcpy(&key_scales, keys.scales + p, block * sizeof(float));
        for (int r = 0; r < count; r++) {
            const v4i *x = fours[r];
            const v4i first =
                __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5) + __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
            const v4i second =
                __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5) + __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
            const v4i sums =
                __builtin_shufflevector(first, second, 0, 1, 4, 5) + __builtin_shufflevector(first, second, 2, 3, 6, 7);
            const v4f scores = __builtin_convertvector(sums, v4f) * (integers[r].scale * scale) * key_scales;
            memcpy(rows[r].weights + p, &scores, block * sizeof(float));
        }
    }
}

// The sums of some rows for 32 · blocks channels from i on, over positions 0 ≤ p < end, two at a time.
INLINE void int8_mix(const attention_row *rows, const int8_attention_row *integers, const int count, const int blocks,
                     size_t end, sign_kernels_cached_rows values, size_t size, size_t i) {
    // Channels 0 to 3, 8 to 11, …, and the others.
    v16i low[attention_rows][4] = {{{0}}}, high[attention_rows][4] = {{{0}}};
    const int8_t *first = (const int8_t *)values.rows + i;
    for (size_t p = 0; p < end; p += 2) {
        const int8_t *row = first + p * values.stride;
        for (int b = 0; b < blocks; b++) {
            v32i16 one, other = {0};
            widen_bytes(row + b * int8_channels, &one);
            if (p + 1 < end) widen_bytes(row + values.stride + b * int8_channels, &other);
            if (b % 2 == 0) {
                __builtin_prefetch(row + b * int8_channels + attention_fetch, 0, 3);
                __builtin_prefetch(row + values.stride + b * int8_channels + attention_fetch, 0, 3);
            }
            const v32i16 low_pairs = __builtin_shufflevector(
                one, other, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49, 18, 50, 19, 51,
                24, 56, 25, 57, 26, 58, 27, 59);
            const v32i16 high_pairs = __builtin_shufflevector(
                one, other, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21, 53, 22, 54, 23, 55,
                28, 60, 29, 61, 30, 62, 31, 63);
            for (int r = 0; r < count; r++) {
                int32_t pair;
                memcpy(&pair, integers[r].weights + p, sizeof pair);
                const v16i pairs = {pair, pair, pair, pair, pair, pair, pair, pair,
                                    pair, pair, pair, pair, pair, pair, pair, pair};
                int16_t weights[int8_channels];
                memcpy(weights, &pairs, sizeof weights);
                add_pairs(&low_pairs, weights, &low[r][b]);
                add_pairs(&high_pairs, weights, &high[r][b]);
            }
        }
    }
    for (int r = 0; r < count; r++) {
        for (int b = 0; b < blocks; b++) {
            const v16i a = low[r][b], c = high[r][b];
            const v16i channels[2] = {
                __builtin_shufflevector(a, c, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
                __builtin_shufflevector(a, c, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)};
            for (int half = 0; half < 2; half++) {
                const size_t channel = i + b * int8_channels + half * lanes;
                if (channel >= size) break;
                const v16f results = __builtin_convertvector(channels[half], v16f) * integers[r].scale;
                if (size - channel >= lanes) store(&results, rows[r].sums + channel);
                else store_tail(&results, size - channel, rows[r].sums + channel);
            }
        }
    }
}

INLINE void attend_int8_rows(const attention_row *rows, int8_attention_row *integers, const int count,
                             sign_kernels_cached_rows keys, sign_kernels_cached_rows values, size_t size, float scale,
                             float cap) {
    const size_t end = rows[count - 1].positions;
    for (int r = 0; r < count; r++) {
        const size_t padded = (size + int8_channels - 1) / int8_channels * int8_channels;
        integers[r].scale = round_to_integers(rows[r].q, size, query_magnitude, 2, integers[r].q, padded);
    }
    int8_scores(rows, integers, count, end, keys, size, scale);
    for (int r = 0; r < count; r++) {
        float *weights = rows[r].weights;
        const size_t positions = rows[r].positions;
        if (cap != 0) KERNEL(soft_cap)(weights, positions, 1, cap, weights);
        rows[r].sums[size + 1] = KERNEL(attention_weights)(weights, positions, rows[r].sums + size);
        for (size_t p = 0; p < positions; p++) weights[p] *= values.scales[p];
        integers[r].scale = KERNEL(round_int16)(weights, positions, integers[r].weights, attention_positions);
    }
    // As many rows at a time as the registers hold the sums of, two vectors for each 32 channels.
    const int most = ATTENTION_SUMS / 2 < count ? ATTENTION_SUMS / 2 : count;
    const int step = count % most == 0 ? most : count / 2;
    const int blocks = 8 * step <= ATTENTION_SUMS ? 4 : 4 * step <= ATTENTION_SUMS ? 2 : 1;
    for (int r = 0; r < count; r += step) {
        size_t i = 0;
        for (; i + blocks * int8_channels <= size; i += blocks * int8_channels) {
            int8_mix(rows + r, integers + r, step, blocks, end, values, size, i);
        }
        for (; i < size; i += int8_channels) int8_mix(rows + r, integers + r, step, 1, end, values, size, i);
    }
}

static void KERNEL(attend_int8)(const attention_row *rows, size_t count, sign_kernels_cached_rows keys,
                                sign_kernels_cached_rows values, size_t size, float scale, float cap) {
    int8_attention_row integers[attention_rows];
    switch (count) {
    case 4: attend_int8_rows(rows, integers, 4, keys, values, size, scale, cap); return;
    case 3: attend_int8_rows(rows, integers, 3, keys, values, size, scale, cap); return;
    case 2: attend_int8_rows(rows, integers, 2, keys, values, size, scale, cap); return;
    default: attend_int8_rows(rows, integers, 1, keys, values, size, scale, cap); return;
    }
}
