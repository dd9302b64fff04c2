R"CUDA(
// AdamW on rows of one parameter, written in place: the equations, storage forms and random bits of optimizer.cpp's loops in
// one reading and one writing. common.cuh and adamw_arguments.h stand before.

__device__ inline u64 mixed(u64 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

__device__ inline float loaded(const void *data, int form, i64 i) {
    if (form == form_float32) return ((const float *)data)[i];
    if (form == form_bfloat16) return number(((const bfloat16 *)data)[i]);
    return number(((const float16 *)data)[i]);
}

/// The bfloat16 below or above x, the nearer one more likely.
__device__ inline u16 rounded(float x, u32 sixteen_bits) { return (u16)((__float_as_uint(x) + sixteen_bits) >> 16); }

__device__ inline float gradient_of(const Rows &rows, i64 row, i64 column, float factor, float w) {
    float d = loaded(rows.gradient, rows.gradient_form, row * rows.columns + column) * factor;
    if (rows.sign_gradient == sign_gradient_none) return d;
    float h = rows.output_scale[row], g = rows.input_scale[column];
    if (rows.sign_gradient == sign_gradient_hard) return fabsf(w) < 1 ? d * h * g : 0;
    float t = tanhf(w);
    return d * (h * g * (1.001f - t * t));  // the released code's 1.001
}

__device__ inline float loaded(const Moment &moment, bool is_signed, i64 i, u32 block) {
    if (moment.form != form_blocks) return loaded(moment.data, moment.form, i);
    u32 code = ((const u8 *)moment.data)[i];
    float x = moment.scales[block] * moment.levels[is_signed ? code & 127 : code];
    return is_signed && code & 128 ? -x : x;
}

/// The level below or above x in [0, 1], the nearer one more likely; `u` is uniform in [0, 1).
__device__ inline u32 code_of(float x, float u, const float *level, u32 top, bool keeps_above_zero) {
    if (x < level[1]) return keeps_above_zero ? x > 0 : u * level[1] < x;
    if (x >= 1) return top;
    u32 low = 1, high = top;  // level[low] <= x < level[high]
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (level[middle] <= x) low = middle; else high = middle;
    }
    return low + (u * (level[low + 1] - level[low]) < x - level[low]);
}

/// By all threads of a block, whether or not they have an element.
__device__ inline void store(const Moment &moment, bool is_signed, i64 i, u32 block, bool exists, float x, u64 random,
                             int shift) {
    if (moment.form == form_float32) {
        if (exists) ((float *)moment.data)[i] = x;
    } else if (moment.form == form_bfloat16) {
        if (exists) ((bfloat16 *)moment.data)[i].bits = rounded(x, (u32)(random >> shift) & 0xFFFF);
    } else {
        float unit = block_max(exists ? fabsf(x) : 0);
        if (unit < 1.17549435e-38f) unit = 0;
        if (threadIdx.x == 0) moment.scales[block] = unit;
        if (!exists) return;
        float u = (float)((u32)(random >> shift) & 0xFFFFFF) * 5.9604644775390625e-8f;
        u32 code = code_of(fabsf(x) * (unit > 0 ? 1 / unit : 0), u, moment.levels, is_signed ? 127 : 255, !is_signed);
        ((u8 *)moment.data)[i] = (u8)(is_signed && signbit(x) ? code | 128 : code);
    }
}

/// Σ d² of the elements that each block of threads has.
extern "C" __global__ void gradient_square_sums(Rows rows) {
    double sum[1] = {0};
    for (u32 block = blockIdx.x; block < rows.blocks; block += gridDim.x) {
        i64 row = block / rows.row_blocks, column = (i64)(block % rows.row_blocks) * 256 + threadIdx.x;
        if (column >= rows.columns) continue;
        float w = rows.sign_gradient ? loaded(rows.value, rows.value_form, row * rows.columns + column) : 0;
        double d = gradient_of(rows, row, column, 1, w);
        sum[0] += d * d;
    }
    block_sums(sum);
    if (threadIdx.x == 0) rows.square_sums[blockIdx.x] = sum[0];
}

extern "C" __global__ void adamw_step(Rows rows, Step step) {
    u64 turned = 0;
    bool rounds = rows.value_form || rows.first.form || rows.second.form;
    for (u32 block = blockIdx.x; block < rows.blocks; block += gridDim.x) {
        i64 row = block / rows.row_blocks, column = (i64)(block % rows.row_blocks) * 256 + threadIdx.x;
        i64 i = row * rows.columns + column;
        bool exists = column < rows.columns, was_negative = false;
        float w = 0, m = 0, v = 0;
        u64 random = 0;
        if (exists) {
            w = loaded(rows.value, rows.value_form, i);
            was_negative = w < 0;
            float d = gradient_of(rows, row, column, step.gradient_factor, w);
            m = loaded(rows.first, true, i, block);
            v = loaded(rows.second, false, i, block);
            m += step.new1 * (d - m);
            v = step.old2 * v + step.new2 * d * d;
            w = step.decay * w - step.rate * m / (sqrtf(v) * step.root + step.epsilon);
            if (rounds) random = mixed(step.random_key + 0x9E3779B97F4A7C15ull * (u64)(step.first_element + i + 1));
            if (rows.value_form == form_bfloat16) {
                bfloat16 kept = {rounded(w, (u32)random & 0xFFFF)};
                ((bfloat16 *)rows.value)[i] = kept;
                w = number(kept);
            } else {
                ((float *)rows.value)[i] = w;
            }
        }
        store(rows.first, true, i, block, exists, m, random, 16);
        store(rows.second, false, i, block, exists, v, random, 40);
        if (!rows.signs) continue;
        turned += was_negative != (w < 0);
        // 32 columns are the four bytes of a warp, the least significant bit first.
        u32 negative = __ballot_sync(0xFFFFFFFF, w < 0), lane = threadIdx.x % 32;
        i64 byte = (column - lane) / 8 + lane, row_bytes = (rows.columns + 7) / 8;
        if (lane < 4 && byte < row_bytes) rows.signs[row * row_bytes + byte] = (u8)(negative >> (8 * lane));
    }
    if (turned) atomicAdd(rows.turned, turned);
}
)CUDA"
