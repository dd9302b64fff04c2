// Sign products with AVX2.
//
// With b the bits of a row (1 where the sign is −1):   Σ_c S[r][c]·x[c] = Σ_c x[c] − 2 Σ_c b[c]·x[c].
// The bits are widened to lanes once per tile of 2 rows and used for 4 tokens; for the last tokens (and in decoding,
// where there is one) a tile is 4 rows by one token. Faster than the portable version by 16 or 32 columns at a time.
// Bits are widened at every use, which costs more than reading them: the limit of this version.

#include "sign_product.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))

// Rows whose bits stay in the first-level cache while all tokens pass over them.
enum { row_block = 64 };

AVX2_INLINE int32_t sum_of_lanes(__m256i lanes) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2)));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(sum);
}

// The `count` bytes at `bytes`, never one more: the row may be the last of a mapped file.
AVX2_INLINE uint32_t load_bits(const uint8_t *bytes, size_t count) {
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) bits |= (uint32_t)bytes[i] << (8 * i);
    return bits;
}

// MARK: 16-bit inputs

// Σ_c x[c] over the padded row.
AVX2_INLINE int32_t total_int16(const int16_t *x, size_t columns) {
    __m256i total = _mm256_setzero_si256();
    for (size_t c = 0; c < columns; c += 16) {
        const __m256i input = _mm256_loadu_si256((const __m256i *)(x + c));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(input, _mm256_set1_epi16(1)));
    }
    return sum_of_lanes(total);
}

// −1 in the lanes whose bit is set.
AVX2_INLINE __m256i mask_int16(uint32_t bits) {
    const __m256i bit_of_lane = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
                                                  (short)32768);
    const __m256i spread = _mm256_set1_epi16((short)bits);
    return _mm256_cmpeq_epi16(_mm256_and_si256(spread, bit_of_lane), bit_of_lane);
}

// sums[row][token] −= Σ over 16 columns from c on of b·x
#define ACCUMULATE_INT16(bits_of_row)                                                                  \
    do {                                                                                               \
        __m256i masks[4];                                                                              \
        for (int i = 0; i < rows; i++) masks[i] = mask_int16(bits_of_row);                             \
        for (int j = 0; j < tokens; j++) {                                                             \
            const __m256i input = _mm256_loadu_si256((const __m256i *)(x + j * input_stride + c));     \
            for (int i = 0; i < rows; i++) {                                                           \
                sums[i][j] = _mm256_add_epi32(sums[i][j], _mm256_madd_epi16(input, masks[i]));         \
            }                                                                                          \
        }                                                                                              \
    } while (0)

AVX2_INLINE void tile_int16(const int rows, const int tokens, const uint8_t *bits, size_t bytes_per_row,
                            size_t columns, const int16_t *x, size_t input_stride, const int32_t *totals, int32_t *y,
                            size_t output_stride) {
    __m256i sums[4][4];
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < tokens; j++) sums[i][j] = _mm256_setzero_si256();
    }
    size_t c = 0;
    for (; c + 16 <= columns; c += 16) {
        ACCUMULATE_INT16(load_bits(bits + i * bytes_per_row + c / 8, 2));
    }
    if (c < columns) {
        const size_t bytes = (columns - c + 7) / 8;
        ACCUMULATE_INT16(load_bits(bits + i * bytes_per_row + c / 8, bytes));
    }
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < tokens; j++) {
            // Unsigned: twice a partial sum may wrap, the whole does not.
            y[j * output_stride + i] = (int32_t)((uint32_t)totals[j] + 2 * (uint32_t)sum_of_lanes(sums[i][j]));
        }
    }
}

AVX2 void sign_kernels_product_int16_2x4__avx2(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                               const int16_t *x, size_t input_stride, size_t tokens, int32_t *y,
                                               size_t output_stride) {
    const size_t columns = matrix.columns, bytes_per_row = matrix.bytes_per_row;
    for (size_t block = row_begin; block < row_end; block += row_block) {
        const size_t block_end = row_end - block < row_block ? row_end : block + row_block;
        size_t t = 0;
        for (; t + 4 <= tokens; t += 4) {
            const int16_t *inputs = x + t * input_stride;
            int32_t *outputs = y + t * output_stride;
            int32_t totals[4];
            for (int j = 0; j < 4; j++) totals[j] = total_int16(inputs + j * input_stride, columns);
            size_t r = block;
            for (; r + 2 <= block_end; r += 2) {
                tile_int16(2, 4, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, totals,
                           outputs + r, output_stride);
            }
            for (; r < block_end; r++) {
                tile_int16(1, 4, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, totals,
                           outputs + r, output_stride);
            }
        }
        for (; t < tokens; t++) {
            const int16_t *inputs = x + t * input_stride;
            int32_t *outputs = y + t * output_stride;
            const int32_t total = total_int16(inputs, columns);
            size_t r = block;
            for (; r + 4 <= block_end; r += 4) {
                tile_int16(4, 1, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, &total,
                           outputs + r, output_stride);
            }
            for (; r < block_end; r++) {
                tile_int16(1, 1, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, &total,
                           outputs + r, output_stride);
            }
        }
    }
}

// MARK: 8-bit inputs

// Pairs of products fit 16 bits (2 · 127), and so do this many of them: 128 · 254 = 32512.
enum { groups_in_16_bits = 128 };

AVX2_INLINE __m256i widen_pairs(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

// Σ_c x[c] over the padded row.
AVX2_INLINE int32_t total_int8(const int8_t *x, size_t columns) {
    __m256i total = _mm256_setzero_si256();
    for (size_t c = 0; c < columns; c += 32) {
        const __m256i input = _mm256_loadu_si256((const __m256i *)(x + c));
        total = _mm256_add_epi32(total, widen_pairs(_mm256_maddubs_epi16(_mm256_set1_epi8(1), input)));
    }
    return sum_of_lanes(total);
}

// 1 in the lanes whose bit is set.
AVX2_INLINE __m256i ones_int8(uint32_t bits) {
    const __m256i byte_of_lane = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2,
                                                  2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of_lane = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of_lane);
    return _mm256_min_epu8(_mm256_and_si256(spread, bit_of_lane), _mm256_set1_epi8(1));
}

// pairs[row][token] += Σ over pairs of 32 columns from c on of b·x
#define ACCUMULATE_INT8(bits_of_row)                                                                   \
    do {                                                                                               \
        __m256i ones[4];                                                                               \
        for (int i = 0; i < rows; i++) ones[i] = ones_int8(bits_of_row);                               \
        for (int j = 0; j < tokens; j++) {                                                             \
            const __m256i input = _mm256_loadu_si256((const __m256i *)(x + j * input_stride + c));     \
            for (int i = 0; i < rows; i++) {                                                           \
                pairs[i][j] = _mm256_add_epi16(pairs[i][j], _mm256_maddubs_epi16(ones[i], input));     \
            }                                                                                          \
        }                                                                                              \
    } while (0)

AVX2_INLINE void tile_int8(const int rows, const int tokens, const uint8_t *bits, size_t bytes_per_row, size_t columns,
                           const int8_t *x, size_t input_stride, const int32_t *totals, int32_t *y,
                           size_t output_stride) {
    int32_t sums[4][4];
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < tokens; j++) sums[i][j] = 0;
    }
    size_t c = 0;
    while (c < columns) {
        __m256i pairs[4][4];
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < tokens; j++) pairs[i][j] = _mm256_setzero_si256();
        }
        int groups = 0;
        for (; groups < groups_in_16_bits && c + 32 <= columns; groups++, c += 32) {
            ACCUMULATE_INT8(load_bits(bits + i * bytes_per_row + c / 8, 4));
        }
        if (groups < groups_in_16_bits && c < columns) {
            const size_t bytes = (columns - c + 7) / 8;
            ACCUMULATE_INT8(load_bits(bits + i * bytes_per_row + c / 8, bytes));
            c = columns;
        }
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < tokens; j++) sums[i][j] += sum_of_lanes(widen_pairs(pairs[i][j]));
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < tokens; j++) y[j * output_stride + i] = totals[j] - 2 * sums[i][j];
    }
}

AVX2 void sign_kernels_product_int8_2x4__avx2(sign_kernels_matrix matrix, size_t row_begin, size_t row_end,
                                              const int8_t *x, size_t input_stride, size_t tokens, int32_t *y,
                                              size_t output_stride) {
    const size_t columns = matrix.columns, bytes_per_row = matrix.bytes_per_row;
    for (size_t block = row_begin; block < row_end; block += row_block) {
        const size_t block_end = row_end - block < row_block ? row_end : block + row_block;
        size_t t = 0;
        for (; t + 4 <= tokens; t += 4) {
            const int8_t *inputs = x + t * input_stride;
            int32_t *outputs = y + t * output_stride;
            int32_t totals[4];
            for (int j = 0; j < 4; j++) totals[j] = total_int8(inputs + j * input_stride, columns);
            size_t r = block;
            for (; r + 2 <= block_end; r += 2) {
                tile_int8(2, 4, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, totals,
                          outputs + r, output_stride);
            }
            for (; r < block_end; r++) {
                tile_int8(1, 4, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, totals,
                          outputs + r, output_stride);
            }
        }
        for (; t < tokens; t++) {
            const int8_t *inputs = x + t * input_stride;
            int32_t *outputs = y + t * output_stride;
            const int32_t total = total_int8(inputs, columns);
            size_t r = block;
            for (; r + 4 <= block_end; r += 4) {
                tile_int8(4, 1, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, &total,
                          outputs + r, output_stride);
            }
            for (; r < block_end; r++) {
                tile_int8(1, 1, matrix.bits + r * bytes_per_row, bytes_per_row, columns, inputs, input_stride, &total,
                          outputs + r, output_stride);
            }
        }
    }
}

#endif
