// Products with ±1 matrices at one bit per weight, and the float arithmetic around them.
//
// The only header that Swift sees. A `sign_kernels_table` is a dispatch table: one instruction set's version of every
// kernel. The CPU is asked once which of them it can run; whoever holds a table may call all of it.
//
// A product with a sign matrix is made of look-ups. Columns are taken in groups of n (4 or 6, as the version's `layout`
// says). A token's inputs are integers x; per group, the 2^n ways in which its signs can disagree with the signs of x
// are tabulated once, in a look-up table (LUT):
//     T[i] = Σ_j |x_j| · [bit j of i ≠ (x_j < 0)]                     and then, for every row r,
//     y[r] = Σ_c S[r][c] · x[c] = Σ_c |x_c| − 2 Σ_groups T[bits of row r]
// One look-up stands for n products, and the bits of a row are the index as they are. The steps:
//     quantize_10bit (or 16)   x ⊙ g to integers, their scale, Σ|x|    once per token
//     build_luts_10bit         the look-up tables T                     once per token, any ranges of groups
//     sign_product_10bit       rows times tokens                        any ranges of tiles
//
// Integers are of one of two precisions, each as large as look-ups of bytes allow:
//     10 bits   |x| ≤ 682, so that T < 4096 takes two digits of base 64 for six columns as for four; but up to four
//               outliers of a token, its largest inputs, have 16 bits, and their groups a third digit
//     16 bits   |x| ≤ 32767: three digits for all groups
// A few inputs that are much larger than the others are what costs a transformer's activations most when they are rounded
// to one scale (Dettmers et al., LLM.int8(), 2022); here they cost one look-up each.
//
// What every version promises, and the tests demand:
//   * products with sign matrices are exact, so all versions return the same integers;
//   * float reductions add in one fixed order (16 lanes, then a tree; no fused multiply-add), so all versions
//     return the same bits, and a caller that splits rows, groups or tokens over threads changes no bit either; only
//     causal attention and the transposed product, which training uses, and the dense products fuse where the CPU can;
//   * a kernel touches the elements that its comment names and none beyond, whatever the width: only what says so wants
//     padding or alignment. (Prefetches may go further; they cannot fault.)
//
// What these kernels are not: they don't check sizes, allocate, or start threads. The caller does.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Widest sign matrix. 65536 inputs of at most 32767 in magnitude sum to less than 2^31.
#define SIGN_KERNELS_MAXIMUM_COLUMNS 65536

// `build_luts` reads quantized inputs in rows whose length is a multiple of this, zero beyond `columns`: whole quadruples
// of groups, in either layout.
#define SIGN_KERNELS_INPUT_PADDING 48

// Largest magnitude of an input of 10 bits that is no outlier, and most outliers of a token.
#define SIGN_KERNELS_10BIT_LARGEST 682
#define SIGN_KERNELS_OUTLIERS 4

// No column.
#define SIGN_KERNELS_NO_OUTLIER UINT32_MAX

// Alignment that look-up tables need and that packed matrices should have for speed.
#define SIGN_KERNELS_ALIGNMENT 64

// Query rows that `attention` works on at a time.
#define SIGN_KERNELS_ATTENTION_ROWS 4

// Positions of a sequence that are a part of its attention. Parts begin at multiples of it, so that a result does not
// depend on who computes which of them.
#define SIGN_KERNELS_ATTENTION_POSITIONS 256

// Queries that `causal_attention` and its gradient work on at a time.
#define SIGN_KERNELS_ATTENTION_QUERIES 24

// Rows of keys and values are read in whole multiples of this.
#define SIGN_KERNELS_HEAD_PADDING 16

// The same of 8-bit rows, and the most channels that they may have.
#define SIGN_KERNELS_INT8_HEAD_PADDING 32
#define SIGN_KERNELS_INT8_HEAD_SIZE 512

// A matrix of ±1 as checkpoints hold it: bit j of byte k of a row is column 8k+j, least significant first; bit 1 means
// −1. Bits beyond `columns` in a row's last byte may have any value. No byte beyond `bytes_per_row · rows` is read.
typedef struct sign_kernels_matrix {
    const uint8_t *_Nonnull bits;
    size_t bytes_per_row;  // at least ceil(columns / 8)
    size_t rows;
    size_t columns;  // at most SIGN_KERNELS_MAXIMUM_COLUMNS
} sign_kernels_matrix;

// The order in which a version's kernels read the bits of a sign matrix: whole tiles of rows, one after the other.
typedef struct sign_kernels_layout {
    // Names the order for good: another order gets another name. Cache files are named after it.
    const char *_Nonnull name;
    // Columns of a group, n.
    size_t group_columns;
    // Rows of a tile; the last tile of a matrix may have fewer.
    size_t tile_rows;
    // Bytes of the first `tiles` tiles of a matrix; of all of them when that is ceil(rows / tile_rows).
    size_t (*_Nonnull byte_count)(size_t rows, size_t columns, size_t tiles);
    // Writes tiles tile_begin ≤ t < tile_end to their places in `packed`, the whole matrix's first byte.
    void (*_Nonnull pack)(sign_kernels_matrix matrix, size_t tile_begin, size_t tile_end, uint8_t *_Nonnull packed);
} sign_kernels_layout;

// A matrix in the layout of a dispatch table.
typedef struct sign_kernels_packed_matrix {
    const uint8_t *_Nonnull bytes;
    size_t rows;
    size_t columns;
} sign_kernels_packed_matrix;

// The result of quantizing a token beside its integers: x ⊙ g ≈ q · scale, Σ|q|, and the columns whose integers are larger
// than SIGN_KERNELS_10BIT_LARGEST, or SIGN_KERNELS_NO_OUTLIER.
typedef struct sign_kernels_quantized {
    float scale;
    int32_t magnitude;
    uint32_t outliers[SIGN_KERNELS_OUTLIERS];
} sign_kernels_quantized;

// Keys or values of one head, one row per position, `stride` elements apart: 16-bit floats, or int8 with a scale each.
typedef struct sign_kernels_cached_rows {
    const void *_Nonnull rows;
    const float *_Nullable scales;  // NULL for 16-bit floats
    size_t stride;
} sign_kernels_cached_rows;

// The rows of one head, `stride` floats apart.
typedef struct sign_kernels_head_rows {
    const float *_Nonnull rows;
    size_t stride;
} sign_kernels_head_rows;

// Parts of the loss of one row of logits, in nats.
typedef struct sign_kernels_loss {
    double divergence;
    double cross_entropy;
} sign_kernels_loss;

// The types that weights, keys and values are stored in, the last one with scales beside it.
typedef enum sign_kernels_float_type {
    SIGN_KERNELS_FLOAT32 = 0,
    SIGN_KERNELS_FLOAT16 = 1,
    SIGN_KERNELS_BFLOAT16 = 2,
    SIGN_KERNELS_INT8 = 3,
} sign_kernels_float_type;

// One instruction set's version of every kernel. Matrices are row-major; strides count elements.
typedef struct sign_kernels_table {
    // The name that ONEBIT_INSTRUCTION_SET takes.
    const char *_Nonnull name;
    const sign_kernels_layout *_Nonnull layout;

    // q = round((x ⊙ g) / s), ties to even, s = max|x ⊙ g| / 32767. Writes `padded` ≥ columns elements of q, zeros from
    // `columns` on.
    // An input with NaN or infinity gives q = 0 and s = NaN, so that the damage shows in everything downstream;
    // an input below 1e-30 throughout gives q = 0 and s = 0.
    sign_kernels_quantized (*_Nonnull quantize_16bit)(const float *_Nonnull x, const float *_Nonnull g, size_t columns,
                                                      int16_t *_Nonnull q, size_t padded);
    // The same with s = max(m / 682, max|x ⊙ g| / 32767), m the largest magnitude but for four outliers.
    sign_kernels_quantized (*_Nonnull quantize_10bit)(const float *_Nonnull x, const float *_Nonnull g, size_t columns,
                                                      int16_t *_Nonnull q, size_t padded);

    // Bytes of one token's look-up tables.
    size_t (*_Nonnull lut_bytes_10bit)(size_t columns);
    size_t (*_Nonnull lut_bytes_16bit)(size_t columns);
    // Fills the look-up tables of group quadruples quad_begin ≤ i < quad_end, of ceil(columns / (4 · group_columns)) in
    // all; with the first also those of the outliers. q and `input` are what quantizing gave, q padded as
    // SIGN_KERNELS_INPUT_PADDING says; `luts` is aligned to SIGN_KERNELS_ALIGNMENT.
    void (*_Nonnull build_luts_10bit)(const int16_t *_Nonnull q, const sign_kernels_quantized *_Nonnull input,
                                      size_t quad_begin, size_t quad_end, uint8_t *_Nonnull luts);
    void (*_Nonnull build_luts_16bit)(const int16_t *_Nonnull q, const sign_kernels_quantized *_Nonnull input,
                                      size_t quad_begin, size_t quad_end, uint8_t *_Nonnull luts);
    // y[t][r] = Σ_c S[r][c] · q[t][c]   for the rows of tiles tile_begin ≤ i < tile_end, 0 ≤ t < tokens; exact.
    // luts: those of `tokens` tokens, lut_stride bytes apart (a multiple of the alignment).
    // y: [tokens, output_stride], its first column the first row of tile_begin.
    void (*_Nonnull sign_product_10bit)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                                        const uint8_t *_Nonnull luts, size_t lut_stride,
                                        const sign_kernels_quantized *_Nonnull inputs, size_t tokens,
                                        int32_t *_Nonnull y, size_t output_stride);
    void (*_Nonnull sign_product_16bit)(sign_kernels_packed_matrix matrix, size_t tile_begin, size_t tile_end,
                                        const uint8_t *_Nonnull luts, size_t lut_stride,
                                        const sign_kernels_quantized *_Nonnull inputs, size_t tokens,
                                        int32_t *_Nonnull y, size_t output_stride);
    // y = q · s ⊙ h
    void (*_Nonnull dequantize)(const int32_t *_Nonnull q, float s, const float *_Nonnull h, size_t count,
                                float *_Nonnull y);

    // y[t][r] = Σ_c W[r][c] · x[t][c]   for row_begin ≤ r < row_end, 0 ≤ t < tokens. W: [rows, columns] of a float type,
    // any alignment.
    void (*_Nonnull float_product)(const void *_Nonnull weights, sign_kernels_float_type type, size_t columns,
                                   size_t row_begin, size_t row_end, const float *_Nonnull x, size_t input_stride,
                                   size_t tokens, float *_Nonnull y, size_t output_stride);
    // q = round(x / s), s = max|x| / 127, ties to even; returns s. Writes `padded` ≥ count elements of q, zeros from `count`
    // on. NaN, infinity and tiny inputs as `quantize_16bit` has them.
    float (*_Nonnull round_int8)(const float *_Nonnull x, size_t count, int8_t *_Nonnull q, size_t padded);
    // The same with 32767.
    float (*_Nonnull round_int16)(const float *_Nonnull x, size_t count, int16_t *_Nonnull q, size_t padded);
    // y[t][r] = (Σ_c W[r][c] · q[t][c]) · input_scales[t] · row_scales[r]   for row_begin ≤ r < row_end, 0 ≤ t < tokens,
    // the sums exact. W: [rows, columns], any alignment. row_scales: [rows]. q: at most 32767 in magnitude.
    void (*_Nonnull int8_product)(const int8_t *_Nonnull weights, const float *_Nonnull row_scales, size_t columns,
                                  size_t row_begin, size_t row_end, const int16_t *_Nonnull q, size_t input_stride,
                                  const float *_Nonnull input_scales, size_t tokens, float *_Nonnull y,
                                  size_t output_stride);
    // y = x as 32-bit floats
    void (*_Nonnull widen)(const void *_Nonnull x, sign_kernels_float_type type, size_t count, float *_Nonnull y);
    // y = x as 16-bit floats, rounded to nearest, ties to even
    void (*_Nonnull narrow_float16)(const float *_Nonnull x, size_t count, uint16_t *_Nonnull y);

    // y = x r ⊙ w, r = 1 / sqrt(mean(x²) + ε), which is returned; y may be x
    float (*_Nonnull rms_norm)(const float *_Nonnull x, const float *_Nonnull w, size_t count, float epsilon,
                              float *_Nonnull y);
    // y = (x − mean(x)) r, r = 1 / sqrt(var(x) + ε), which is returned; y may be x
    float (*_Nonnull layer_norm)(const float *_Nonnull x, size_t count, float epsilon, float *_Nonnull y);
    // y = x + y
    void (*_Nonnull add)(const float *_Nonnull x, size_t count, float *_Nonnull y);
    // y = x ⊙ w; y may be x
    void (*_Nonnull scale)(const float *_Nonnull x, const float *_Nonnull w, size_t count, float *_Nonnull y);
    // y = max(x, 0); y may be x
    void (*_Nonnull relu)(const float *_Nonnull x, size_t count, float *_Nonnull y);
    // y = gate · σ(gate) ⊙ up; y may be gate or up
    void (*_Nonnull swiglu)(const float *_Nonnull gate, const float *_Nonnull up, size_t count, float *_Nonnull y);
    // y = cap · tanh(x · scale / cap); y may be x
    void (*_Nonnull soft_cap)(const float *_Nonnull x, size_t count, float scale, float cap, float *_Nonnull y);
    // Rotates the pairs (x[i], x[i + size/2]) of one head by the angles whose cosines and sines are given, [size/2].
    void (*_Nonnull rotate_half)(float *_Nonnull x, size_t size, const float *_Nonnull cosine,
                                 const float *_Nonnull sine);
    // A part of the attention of the query heads that share one key/value head, for consecutive tokens of one sequence:
    // with s_p = q[t][h] · k_p · scale, or cap · tanh of its cap-th part where cap is not 0, and p over the first
    // positions + t positions, at most SIGN_KERNELS_ATTENTION_POSITIONS of them,
    //     part[t][h] = Σ_p exp(s_p − m) v_p,   m = max_p s_p,   Σ_p exp(s_p − m)      0 ≤ t < tokens, 0 ≤ h < heads
    // which are `size` floats and two; zeros and −∞ where there is no position. q: [tokens, query_stride], the heads side
    // by side, `size` floats each. keys, values: zero from `size` up to the next multiple of SIGN_KERNELS_HEAD_PADDING, or
    // of SIGN_KERNELS_INT8_HEAD_PADDING, which are read too, of the last row as well.
    // scratch: SIGN_KERNELS_ATTENTION_ROWS · (SIGN_KERNELS_ATTENTION_POSITIONS + size + 15) floats to work with.
    void (*_Nonnull attention)(const float *_Nonnull q, size_t query_stride, size_t tokens, size_t heads,
                               sign_kernels_cached_rows keys, sign_kernels_cached_rows values, ptrdiff_t positions,
                               size_t size, float scale, float cap, float *_Nonnull scratch, float *_Nonnull part);
    // The same over the positions of two parts, of which one may have none, to `sums`. Attention is the first `size` floats
    // divided by the last.
    void (*_Nonnull attention_merge)(const float *_Nonnull part, size_t rows, size_t size, float *_Nonnull sums);

    // c[r][n] = c[r][n] + Σ_k a[k][r] · b[k][n]   for 0 ≤ k < depth, 0 ≤ r < rows, 0 ≤ n < columns
    void (*_Nonnull add_transposed_product)(const float *_Nonnull a, size_t a_stride, const float *_Nonnull b,
                                            size_t b_stride, size_t depth, size_t rows, size_t columns,
                                            float *_Nonnull c, size_t c_stride);
    // Causal attention of one head over the `tokens` tokens of a sequence, from its first on:
    //     y_t = Σ_{p ≤ t} softmax_p(s_tp) v_p     log_sums[t] = log Σ_{p ≤ t} exp(s_tp)     s_tp = q_t · k_p · scale
    // or with cap · tanh(s_tp / cap) in place of s_tp where cap is not 0.
    // Rows of `size` floats, y's y_stride floats apart. log_sums: [tokens]. An infinite v_p also spoils tokens before p.
    // scratch: sign_kernels_causal_attention_scratch(tokens, size) floats to work with.
    void (*_Nonnull causal_attention)(sign_kernels_head_rows q, sign_kernels_head_rows k, sign_kernels_head_rows v,
                                      size_t tokens, size_t size, float scale, float cap, float *_Nonnull scratch,
                                      float *_Nonnull y, size_t y_stride, float *_Nonnull log_sums);
    // Its gradients by q, k and v, whose rows are gradient_stride floats apart, of y and log_sums as it returned them, and
    // dy. scratch: sign_kernels_causal_attention_gradient_scratch(tokens, size) floats.
    void (*_Nonnull causal_attention_gradient)(sign_kernels_head_rows q, sign_kernels_head_rows k,
                                               sign_kernels_head_rows v, sign_kernels_head_rows y,
                                               const float *_Nonnull log_sums, sign_kernels_head_rows dy, size_t tokens,
                                               size_t size, float scale, float cap, float *_Nonnull scratch,
                                               float *_Nonnull dq, float *_Nonnull dk, float *_Nonnull dv,
                                               size_t gradient_stride);

    // sum = sum + a ⊙ b
    void (*_Nonnull add_product)(const float *_Nonnull a, const float *_Nonnull b, size_t count, float *_Nonnull sum);
    // The gradient by what layer_norm read, of z, the r that it returned and dz: dy = r (dz − mean(dz) − z mean(dz ⊙ z));
    // dy may be dz
    void (*_Nonnull layer_norm_gradient)(const float *_Nonnull dz, const float *_Nonnull z, float r, size_t count,
                                         float *_Nonnull dy);
    // The gradients of rms_norm by x and w, with x̂ = x r: dx = r (dy ⊙ w − x̂ mean(dy ⊙ w ⊙ x̂)), dw = dw + dy ⊙ x̂;
    // dx may be dy
    void (*_Nonnull rms_norm_gradient)(const float *_Nonnull dy, const float *_Nonnull x, const float *_Nonnull w,
                                       float r, size_t count, float *_Nonnull dx, float *_Nonnull dw);
    // The gradients of swiglu by gate and up; they may be where gate and up are
    void (*_Nonnull swiglu_gradient)(const float *_Nonnull dz, const float *_Nonnull gate, const float *_Nonnull up,
                                     size_t count, float *_Nonnull dgate, float *_Nonnull dup);
    // ‖t/‖t‖ − s/‖s‖‖², and `weight` times its gradient by s
    float (*_Nonnull direction_loss)(const float *_Nonnull t, const float *_Nonnull s, size_t count, float weight,
                                     float *_Nonnull gradient);
    // KL(p_t ‖ p_s) and −log p_s[target] of logits t and s. s becomes the gradient by s of
    //     divergence_weight · KL + target_weight · −log p_s[target];
    // t becomes scratch. t may be NULL and target −1: these parts are then zero.
    sign_kernels_loss (*_Nonnull logit_loss)(float *_Nonnull s, float *_Nullable t, size_t count,
                                             float divergence_weight, ptrdiff_t target, float target_weight);

    // log Σ exp(x), and the largest of x
    double (*_Nonnull log_sum_exp)(const float *_Nonnull x, size_t count, float *_Nonnull largest);

    // Reads `count` bytes, a multiple of 256, and returns something that depends on all of them: the reading rate that
    // a benchmark compares decoding with.
    uint64_t (*_Nonnull read)(const uint8_t *_Nonnull bytes, size_t count);
} sign_kernels_table;

// Floats of scratch memory that causal attention, and its gradient, want: two and five copies of a head and some blocks,
// padded.
static inline size_t sign_kernels_causal_attention_scratch(size_t tokens, size_t size) {
    const size_t columns = tokens + SIGN_KERNELS_ATTENTION_QUERIES + 15, width = size + 15;
    return 2 * columns * width + SIGN_KERNELS_ATTENTION_QUERIES * (width + columns);
}
static inline size_t sign_kernels_causal_attention_gradient_scratch(size_t tokens, size_t size) {
    const size_t columns = tokens + SIGN_KERNELS_ATTENTION_QUERIES + 15, width = size + 15;
    return 5 * columns * width + SIGN_KERNELS_ATTENTION_QUERIES * (3 * width + 2 * columns);
}

// Fewer elements than this are added to an input of a dense product to fill it up.
#define SIGN_KERNELS_DENSE_PADDING 32

// One version of the products with dense matrices, which are read where a checkpoint's files are mapped: teachers, and whatever
// else is not packed.
//
// An output's bits depend on its row and its token alone: not on the tokens beside it, nor on how rows are shared out over
// threads. They do depend on the version.
typedef struct sign_kernels_dense_table {
    const char *_Nonnull name;
    // What inputs and weights are rounded to before they are multiplied: "bfloat16" or "float32". Sums are in 32-bit floats.
    const char *_Nonnull arithmetic;
    // Whether none of `count` weights is NaN or infinite.
    bool (*_Nonnull is_finite)(const void *_Nonnull weights, sign_kernels_float_type type, size_t count);
    // Bytes of one token's packed input.
    size_t (*_Nonnull input_bytes)(size_t columns);
    void (*_Nonnull pack_input)(const float *_Nonnull x, size_t columns, void *_Nonnull input);
    // y[t][r] = Σ_c W[r][c] · x[t][c]   for row_begin ≤ r < row_end, 0 ≤ t < tokens.
    // weights: W [rows, columns] in float32, float16 or bfloat16, any alignment. inputs: packed, one after the other.
    // y: [tokens, output_stride], its first column row 0.
    void (*_Nonnull product)(const void *_Nonnull weights, sign_kernels_float_type type, size_t columns, size_t row_begin,
                             size_t row_end, const void *_Nonnull inputs, size_t tokens, float *_Nonnull y,
                             size_t output_stride);
} sign_kernels_dense_table;

// As `sign_kernels_known_name` and `sign_kernels_find`, of the dense products.
const char *_Nullable sign_kernels_known_dense_name(size_t index);
const sign_kernels_dense_table *_Nullable sign_kernels_find_dense(const char *_Nullable name);

// The versions that this package was built with, best first, whether or not this CPU can run them; the last is the
// portable one, which every CPU can. NULL beyond the last.
const char *_Nullable sign_kernels_known_name(size_t index);

// The version called `name`, or, with no name, the best that this CPU can run. NULL when the name isn't known or when
// the CPU (or the operating system, which has to save the registers) lacks what it needs.
const sign_kernels_table *_Nullable sign_kernels_find(const char *_Nullable name);

// A checksum of bytes, the same on every machine: detects damage, not tampering.
uint64_t sign_kernels_checksum(const uint8_t *_Nonnull bytes, size_t count);

// Tells the CPU that this thread waits in a loop.
static inline void sign_kernels_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __cplusplus
}
#endif
