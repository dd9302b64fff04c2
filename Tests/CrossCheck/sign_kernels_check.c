// Every version of the kernels that this CPU can run against plain loops and against the portable version, as a program
// of its own: for instruction sets that the Swift tests don't reach, under an emulator. scripts/check-arm64.sh runs it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CSignKernels.h"

static uint64_t state = 1;
static uint64_t next_random(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}
static float next_float(void) { return (float)(next_random() % 20001) / 10000 - 1; }

static size_t rounded_up(size_t a, size_t b) { return (a + b - 1) / b * b; }

static int failures, checks;
static void expect(int holds, const char *version, const char *what, size_t a, size_t b, size_t c) {
    checks++;
    if (holds) return;
    failures++;
    printf("FAILED %s: %s (%zu, %zu, %zu)\n", version, what, a, b, c);
}

static void check_product(const sign_kernels_table *kernels, size_t rows, size_t columns, size_t tokens, int wide) {
    const sign_kernels_layout *layout = kernels->layout;
    const size_t bytes_per_row = (columns + 7) / 8, tiles = (rows + layout->tile_rows - 1) / layout->tile_rows;
    const size_t padded = rounded_up(columns, SIGN_KERNELS_INPUT_PADDING);
    uint8_t *bits = malloc(bytes_per_row * rows);
    for (size_t i = 0; i < bytes_per_row * rows; i++) bits[i] = (uint8_t)next_random();
    uint8_t *packed = aligned_alloc(64, rounded_up(layout->byte_count(rows, columns, tiles), 64));
    layout->pack((sign_kernels_matrix){bits, bytes_per_row, rows, columns}, 0, tiles, packed);

    const size_t table_bytes = (wide ? kernels->lut_bytes_16bit : kernels->lut_bytes_10bit)(columns);
    const size_t stride = rounded_up(table_bytes, 64);
    const size_t quads = (columns + 4 * layout->group_columns - 1) / (4 * layout->group_columns);
    uint8_t *tables = aligned_alloc(64, stride * tokens);
    sign_kernels_quantized *inputs = malloc(tokens * sizeof *inputs);
    int16_t *q = malloc(tokens * padded * sizeof *q);
    float *x = malloc(columns * sizeof *x), *g = malloc(columns * sizeof *g);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t c = 0; c < columns; c++) x[c] = next_float(), g[c] = next_float();
        // Outliers of some tokens, two of them in one group.
        if (t % 2 == 0) x[columns / 2] *= 30.0f, x[columns / 2 + (columns > 2)] *= -40.0f;
        inputs[t] = (wide ? kernels->quantize_16bit : kernels->quantize_10bit)(x, g, columns, q + t * padded, padded);
        (wide ? kernels->build_luts_16bit : kernels->build_luts_10bit)(q + t * padded, &inputs[t], 0, quads,
                                                                       tables + t * stride);
    }
    int32_t *y = malloc(rows * tokens * sizeof *y);
    (wide ? kernels->sign_product_16bit : kernels->sign_product_10bit)(
        (sign_kernels_packed_matrix){packed, rows, columns}, 0, tiles, tables, stride, inputs, tokens, y, rows);
    int equal = 1;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < rows; r++) {
            int32_t sum = 0;
            for (size_t c = 0; c < columns; c++) {
                const int32_t value = q[t * padded + c];
                sum += bits[r * bytes_per_row + c / 8] >> (c % 8) & 1 ? -value : value;
            }
            equal &= sum == y[t * rows + r];
        }
    }
    expect(equal, kernels->name, wide ? "16-bit product" : "10-bit product", rows, columns, tokens);
    free(bits), free(packed), free(tables), free(inputs), free(q), free(x), free(g), free(y);
}

enum { count = 1003, head = 80, positions = 37, heads = 3, stride = 96 };

// The float kernels' results must be the portable version's, bit for bit.
static void check_floats(const sign_kernels_table *kernels, const sign_kernels_table *portable) {
    static float a[count], b[count], x[count], y[count], scratch[4 * (SIGN_KERNELS_ATTENTION_POSITIONS + head + 15)];
    static uint16_t half_x[count], half_y[count], keys[(positions + 2) * stride], values[(positions + 2) * stride];
    static float weights[19 * count];
    for (int i = 0; i < count; i++) a[i] = next_float() * 9, b[i] = next_float();
    for (int i = 0; i < 19 * count; i++) weights[i] = next_float();
#define SAME(what, size) expect(memcmp(x, y, (size) * sizeof *x) == 0, kernels->name, what, count, 0, 0)
    for (int i = 1; i <= count; i += 167) {
        portable->rms_norm(a, b, i, 1e-5f, x), kernels->rms_norm(a, b, i, 1e-5f, y), SAME("rms_norm", i);
        portable->layer_norm(a, i, 1e-5f, x), kernels->layer_norm(a, i, 1e-5f, y), SAME("layer_norm", i);
        portable->relu(a, i, x), kernels->relu(a, i, y), SAME("relu", i);
        portable->swiglu(a, b, i, x), kernels->swiglu(a, b, i, y), SAME("swiglu", i);
        // Rows without padding, in memory of exactly their size.
        int8_t *q8_x = malloc(i), *q8_y = malloc(i);
        int16_t *q16_x = malloc(i * sizeof *q16_x), *q16_y = malloc(i * sizeof *q16_y);
        portable->quantize_16bit(a, b, i, q16_x, i), kernels->quantize_16bit(a, b, i, q16_y, i);
        expect(memcmp(q16_x, q16_y, i * sizeof *q16_x) == 0, kernels->name, "quantize_16bit", i, 0, 0);
        portable->quantize_10bit(a, b, i, q16_x, i), kernels->quantize_10bit(a, b, i, q16_y, i);
        expect(memcmp(q16_x, q16_y, i * sizeof *q16_x) == 0, kernels->name, "quantize_10bit", i, 0, 0);
        const float rounded_x[2] = {portable->round_int8(a, i, q8_x, i), portable->round_int16(a, i, q16_x, i)};
        const float rounded_y[2] = {kernels->round_int8(a, i, q8_y, i), kernels->round_int16(a, i, q16_y, i)};
        expect(memcmp(q8_x, q8_y, i) == 0, kernels->name, "round_int8", i, 0, 0);
        expect(memcmp(q16_x, q16_y, i * sizeof *q16_x) == 0, kernels->name, "round_int16", i, 0, 0);
        expect(memcmp(rounded_x, rounded_y, sizeof rounded_x) == 0, kernels->name, "rounding's scale", i, 0, 0);
        free(q8_x), free(q8_y), free(q16_x), free(q16_y);
        portable->narrow_float16(a, i, half_x), kernels->narrow_float16(a, i, half_y);
        expect(memcmp(half_x, half_y, i * sizeof *half_x) == 0, kernels->name, "narrow_float16", i, 0, 0);
        for (int type = 0; type < 4; type++) {
            // Any bytes are halves; as other types small numbers, so that sums stay finite.
            const void *w = type == SIGN_KERNELS_FLOAT16 ? (const void *)half_x : weights;
            portable->widen(w, type, i, x), kernels->widen(w, type, i, y);
            int same = 1;
            for (int j = 0; j < i; j++) same &= x[j] != x[j] ? y[j] != y[j] : memcmp(x + j, y + j, sizeof *x) == 0;
            expect(same, kernels->name, "widen", i, type, 0);
        }
        for (int t = 1; t <= 5; t += 4) {
            static float inputs[5 * count];
            for (int j = 0; j < t * i; j++) inputs[j] = next_float();
            portable->float_product(weights, SIGN_KERNELS_FLOAT32, i, 0, 19, inputs, i, t, x, 19);
            kernels->float_product(weights, SIGN_KERNELS_FLOAT32, i, 0, 19, inputs, i, t, y, 19);
            SAME("float_product", t * 19);
            static int16_t q[5 * count];
            static float scales[5];
            for (int j = 0; j < t; j++) scales[j] = portable->round_int16(inputs + j * i, i, q + j * i, i);
            portable->int8_product((const int8_t *)weights, b, i, 0, 19, q, i, scales, t, x, 19);
            kernels->int8_product((const int8_t *)weights, b, i, 0, 19, q, i, scales, t, y, 19);
            SAME("int8_product", t * 19);
        }
    }
    const int width = heads * head;
    for (int wide = 0; wide < 2; wide++) {
        static int8_t bytes[2][(positions + 2) * stride];
        static float scales[2][positions + 2];
        for (int i = 0; i < (positions + 2) * stride; i++) {
            const float value = i % stride < head ? next_float() : 0;
            portable->narrow_float16(&value, 1, keys + i), portable->narrow_float16(&value, 1, values + i);
            bytes[0][i] = (int8_t)(value * 127), bytes[1][i] = (int8_t)(value * 126);
        }
        for (int i = 0; i < positions + 2; i++) scales[0][i] = scales[1][i] = next_float() + 1.1f;
        const sign_kernels_cached_rows k = {wide ? (void *)keys : (void *)bytes[0], wide ? NULL : scales[0], stride};
        const sign_kernels_cached_rows v = {wide ? (void *)values : (void *)bytes[1], wide ? NULL : scales[1], stride};
        for (int cap = 2; cap >= 0; cap -= 2) {
            portable->attention(a, width, 2, heads, k, v, positions, head, 0.3f, (float)cap, scratch, x);
            kernels->attention(a, width, 2, heads, k, v, positions, head, 0.3f, (float)cap, scratch, y);
            SAME("attention", 2 * heads * (head + 2));
        }
        memcpy(weights, x, sizeof x);
        portable->attention_merge(a, 2 * heads, head, weights), kernels->attention_merge(a, 2 * heads, head, y);
        memcpy(x, weights, sizeof x);
        SAME("attention_merge", 2 * heads * (head + 2));
    }
    for (int i = 1; i <= count; i += 167) {
        float largest, other;
        const double sum = portable->log_sum_exp(a, i, &largest);
        expect(kernels->log_sum_exp(a, i, &other) == sum && other == largest, kernels->name, "log_sum_exp", i, 0, 0);
    }
}

// Dense products are those of plain loops, and an output has the same bits whatever tokens and rows are beside it.
static void check_dense(const sign_kernels_dense_table *kernels, sign_kernels_float_type type, size_t rows, size_t columns) {
    enum { tokens = 17 };
    const sign_kernels_table *portable = sign_kernels_find("portable");
    const size_t element = type == SIGN_KERNELS_FLOAT32 ? 4 : 2, input_bytes = kernels->input_bytes(columns);
    float *w = malloc(rows * columns * sizeof *w), *x = malloc(tokens * columns * sizeof *x);
    // Memory of exactly its size, at an odd address.
    uint8_t *stored = malloc(rows * columns * element + 1), *weights = stored + 1;
    for (size_t i = 0; i < rows * columns; i++) {
        float value = next_float();
        if (type == SIGN_KERNELS_FLOAT16) {
            uint16_t half;
            portable->narrow_float16(&value, 1, &half), memcpy(weights + i * 2, &half, 2);
        } else if (type == SIGN_KERNELS_BFLOAT16) {
            memcpy(weights + i * 2, (const uint8_t *)&value + 2, 2);
        } else {
            memcpy(weights + i * 4, &value, 4);
        }
        portable->widen(weights + i * element, type, 1, w + i);
    }
    for (size_t i = 0; i < tokens * columns; i++) x[i] = next_float();
    uint8_t *inputs = malloc(tokens * input_bytes);
    for (size_t t = 0; t < tokens; t++) kernels->pack_input(x + t * columns, columns, inputs + t * input_bytes);
    float *y = malloc(tokens * rows * sizeof *y), *part = malloc(tokens * rows * sizeof *part);
    kernels->product(weights, type, columns, 0, rows, inputs, tokens, y, rows);
    int right = 1, same = 1;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (size_t c = 0; c < columns; c++) {
                const double product = (double)w[r * columns + c] * x[t * columns + c];
                sum += product, size += product < 0 ? -product : product;
            }
            const double difference = y[t * rows + r] - sum;
            right &= (difference < 0 ? -difference : difference) <= 2e-6 * size;
        }
    }
    for (size_t n = 1; n < tokens; n++) {
        const size_t step = n % 3 == 0 ? rows : n;
        for (size_t r = 0; r < rows; r += step) {
            kernels->product(weights, type, columns, r, r + step < rows ? r + step : rows, inputs, n, part, rows);
        }
        same &= memcmp(part, y, n * rows * sizeof *y) == 0;
    }
    expect(right, kernels->name, "dense product", rows, columns, type);
    expect(same, kernels->name, "dense product in parts", rows, columns, type);
    int found = kernels->is_finite(weights, type, rows * columns);
    weights[rows * columns * element - 1] = 0x7f, weights[rows * columns * element - 2] |= 0x80;
    found &= !kernels->is_finite(weights, type, rows * columns);
    expect(found, kernels->name, "is_finite", rows, columns, type);
    free(w), free(x), free(stored), free(inputs), free(y), free(part);
}

int main(void) {
    const size_t rows[] = {1, 31, 64, 65, 200, 256, 300}, columns[] = {1, 6, 25, 48, 100, 172, 1000, 4100};
    const char *name;
    for (size_t i = 0; (name = sign_kernels_known_name(i)) != NULL; i++) {
        const sign_kernels_table *kernels = sign_kernels_find(name);
        if (kernels == NULL) continue;
        printf("checking %s\n", name);
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
                for (int wide = 0; wide < 2; wide++) {
                    check_product(kernels, rows[r], columns[c], 1, wide);
                    check_product(kernels, rows[r], columns[c], 9, wide);
                }
            }
        }
        check_floats(kernels, sign_kernels_find("portable"));
    }
    for (size_t i = 0; (name = sign_kernels_known_dense_name(i)) != NULL; i++) {
        const sign_kernels_dense_table *kernels = sign_kernels_find_dense(name);
        // Plain loops of rounded numbers would be another test.
        if (kernels == NULL || strcmp(kernels->arithmetic, "float32") != 0) continue;
        printf("checking dense products, %s\n", name);
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            for (int type = 0; type < 3; type++) {
                check_dense(kernels, type, 7, columns[c]), check_dense(kernels, type, 53, columns[c]);
            }
        }
    }
    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
