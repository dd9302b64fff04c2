// Causal attention of whole sequences in 32-bit floats and its gradient, for training. A template, as float_kernels.h says;
// include tile_product.h before it. TILE_ROWS divides query_rows.
//
// Queries go in blocks of `query_rows`, each over all keys that its last one sees; what single queries don't see gets the
// weight 0. Blocks are padded with zeros to whole rows, and heads to whole vectors.

enum { query_rows = SIGN_KERNELS_ATTENTION_QUERIES };

static void KERNEL(multiply)(size_t rows, size_t columns, size_t depth, const float *a, size_t row, size_t column,
                             const float *b, size_t b_stride, float *c, size_t c_stride) {
    product_of_tiles(0, rows, columns, depth, a, row, column, b, b_stride, c, c_stride);
}

static void KERNEL(multiply_add)(size_t rows, size_t columns, size_t depth, const float *a, size_t row, size_t column,
                                 const float *b, size_t b_stride, float *c, size_t c_stride) {
    product_of_tiles(1, rows, columns, depth, a, row, column, b, b_stride, c, c_stride);
}

// Rows `begin` on of a head as [count, width], zero beyond its rows and its size.
INLINE void copy_rows(sign_kernels_head_rows head, size_t size, size_t begin, size_t end, size_t count, size_t width,
                      float *y) {
    memset(y, 0, count * width * sizeof *y);
    for (size_t i = begin; i < end; i++) memcpy(y + (i - begin) * width, head.rows + i * head.stride, size * sizeof *y);
}

// A head's rows as the columns of [width, stride], zero beyond.
INLINE void copy_columns(sign_kernels_head_rows head, size_t size, size_t tokens, size_t width, size_t stride, float *y) {
    memset(y, 0, width * stride * sizeof *y);
    for (size_t i = 0; i < tokens; i++) {
        for (size_t d = 0; d < size; d++) y[d * stride + i] = head.rows[i * head.stride + d];
    }
}

// exp(x · scale − shift) of `count` numbers, zero from there to `width`.
INLINE float exponentials(float *x, size_t count, size_t width, float scale, float shift) {
    v16f value, sum = {0};
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        value = value * scale - shift;
        exponential(&value, &value);
        store(&value, x + i);
        sum += value;
    }
    if (i < count) {
        load_tail(x + i, count - i, &value);
        value = value * scale - shift;
        exponential(&value, &value);
        store_tail(&value, count - i, x + i);
        load_tail(x + i, count - i, &value);
        sum += value;
    }
    memset(x + count, 0, (width - count) * sizeof *x);
    return sum_of_lanes(&sum);
}

typedef struct {
    size_t width;    // of a row of a head
    size_t columns;  // of a row of scores
} attention_padding;

INLINE attention_padding padding_of(size_t tokens, size_t size) {
    return (attention_padding){
        (size + lanes - 1) / lanes * lanes,
        ((tokens + query_rows - 1) / query_rows * query_rows + lanes - 1) / lanes * lanes,
    };
}

// Keys that a block of queries is multiplied with.
INLINE size_t seen_columns(size_t begin) { return (begin + query_rows + lanes - 1) / lanes * lanes; }

static void KERNEL(causal_attention)(sign_kernels_head_rows q, sign_kernels_head_rows k, sign_kernels_head_rows v,
                                     size_t tokens, size_t size, float scale, float cap, float *scratch, float *y,
                                     size_t y_stride, float *log_sums) {
    const attention_padding pad = padding_of(tokens, size);
    float *keys = scratch, *values = keys + pad.width * pad.columns, *queries = values + pad.columns * pad.width,
          *scores = queries + query_rows * pad.width;
    copy_columns(k, size, tokens, pad.width, pad.columns, keys);
    copy_rows(v, size, 0, tokens, pad.columns, pad.width, values);
    for (size_t begin = 0; begin < tokens; begin += query_rows) {
        const size_t end = tokens - begin < query_rows ? tokens : begin + query_rows, seen = seen_columns(begin);
        copy_rows(q, size, begin, end, query_rows, pad.width, queries);
        KERNEL(multiply)(query_rows, seen, pad.width, queries, pad.width, 1, keys, pad.columns, scores, pad.columns);
        float sums[query_rows];
        for (size_t t = begin; t < begin + query_rows; t++) {
            float *row = scores + (t - begin) * pad.columns;
            const size_t count = t < tokens ? t + 1 : 0;
            if (cap != 0) KERNEL(soft_cap)(row, count, scale, cap, row);
            const float factor = cap != 0 ? 1 : scale, shift = count ? largest_of(row, count) * factor : 0;
            sums[t - begin] = exponentials(row, count, seen, factor, shift);
            if (count) log_sums[t] = shift + logf(sums[t - begin]);
        }
        // The block's results take the queries' place.
        KERNEL(multiply)(query_rows, pad.width, seen, scores, pad.columns, 1, values, pad.width, queries, pad.width);
        for (size_t t = begin; t < end; t++) {
            const float *row = queries + (t - begin) * pad.width, reciprocal = 1.0f / sums[t - begin];
            for (size_t d = 0; d < size; d++) y[t * y_stride + d] = row[d] * reciprocal;
        }
    }
}

// With P = softmax(Q Kᵀ · scale):   dV = Pᵀ dY,   dS = P ⊙ (dY Vᵀ − Σ_d dY ⊙ Y) · scale,   dQ = dS K,   dK = dSᵀ Q.
// Where scores are capped, C = cap · tanh(Q Kᵀ · scale / cap), P is softmax(C), and dS has the factor 1 − (C / cap)² besides.
static void KERNEL(causal_attention_gradient)(sign_kernels_head_rows q, sign_kernels_head_rows k,
                                              sign_kernels_head_rows v, sign_kernels_head_rows y, const float *log_sums,
                                              sign_kernels_head_rows dy, size_t tokens, size_t size, float scale,
                                              float cap, float *scratch, float *dq, float *dk, float *dv,
                                              size_t gradient_stride) {
    const attention_padding pad = padding_of(tokens, size);
    const size_t matrix = pad.columns * pad.width, block = query_rows * pad.width;
    float *key_rows = scratch, *keys = key_rows + matrix, *values = keys + matrix, *by_keys = values + matrix,
          *by_values = by_keys + matrix, *queries = by_values + matrix, *upstream = queries + block,
          *by_queries = upstream + block, *weights = by_queries + block,
          *by_scores = weights + query_rows * pad.columns;
    copy_rows(k, size, 0, tokens, pad.columns, pad.width, key_rows);
    copy_columns(k, size, tokens, pad.width, pad.columns, keys);
    copy_columns(v, size, tokens, pad.width, pad.columns, values);
    memset(by_keys, 0, 2 * matrix * sizeof *by_keys);
    for (size_t begin = 0; begin < tokens; begin += query_rows) {
        const size_t end = tokens - begin < query_rows ? tokens : begin + query_rows, seen = seen_columns(begin);
        copy_rows(q, size, begin, end, query_rows, pad.width, queries);
        copy_rows(dy, size, begin, end, query_rows, pad.width, upstream);
        KERNEL(multiply)(query_rows, seen, pad.width, queries, pad.width, 1, keys, pad.columns, weights, pad.columns);
        KERNEL(multiply)(query_rows, seen, pad.width, upstream, pad.width, 1, values, pad.columns, by_scores, pad.columns);
        for (size_t t = begin; t < begin + query_rows; t++) {
            float *p = weights + (t - begin) * pad.columns, *ds = by_scores + (t - begin) * pad.columns;
            const size_t count = t < tokens ? t + 1 : 0;
            const float mean = count ? dot(dy.rows + t * dy.stride, y.rows + t * y.stride, size) : 0;
            if (cap != 0) {
                KERNEL(soft_cap)(p, count, scale, cap, p);
                for (size_t i = 0; i < count; i++) {
                    const float tangent = p[i] / cap;
                    ds[i] = (ds[i] - mean) * (1 - tangent * tangent);
                }
                exponentials(p, count, seen, 1, count ? log_sums[t] : 0);
                for (size_t i = 0; i < seen; i++) ds[i] = p[i] * ds[i] * scale;
                continue;
            }
            exponentials(p, count, seen, scale, count ? log_sums[t] : 0);
            for (size_t i = 0; i < seen; i++) ds[i] = p[i] * (ds[i] - mean) * scale;
        }
        const size_t keys_seen = begin + query_rows;
        KERNEL(multiply_add)(keys_seen, pad.width, query_rows, weights, 1, pad.columns, upstream, pad.width, by_values,
                             pad.width);
        KERNEL(multiply_add)(keys_seen, pad.width, query_rows, by_scores, 1, pad.columns, queries, pad.width, by_keys,
                             pad.width);
        KERNEL(multiply)(query_rows, pad.width, seen, by_scores, pad.columns, 1, key_rows, pad.width, by_queries,
                         pad.width);
        for (size_t t = begin; t < end; t++) {
            memcpy(dq + t * gradient_stride, by_queries + (t - begin) * pad.width, size * sizeof *dq);
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        memcpy(dk + t * gradient_stride, by_keys + t * pad.width, size * sizeof *dk);
        memcpy(dv + t * gradient_stride, by_values + t * pad.width, size * sizeof *dv);
    }
}
