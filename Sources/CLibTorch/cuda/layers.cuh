R"CUDA(
// Layers and losses, each in one reading and one writing of memory, which is what they take on a device; libtorch's
// operations, one kernel each and mostly in float32, take three to eight times as much. Compiled by NVRTC with ELEMENT, the
// type of states and logits; common.cuh stands before.
//
// Rows are whole packs of 8 elements, which a thread reads at once.

struct alignas(sizeof(ELEMENT) == 4 ? 16 : 8 * sizeof(ELEMENT)) Pack {
    ELEMENT of[8];
};

/// y[r][c] = x[r][c] · scale[c].
extern "C" __global__ void scale_columns(const Pack *x, const float *scale, Pack *y, u32 packs, u32 row_packs) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += gridDim.x * blockDim.x) {
        Pack in = x[i], out;
        const float *factors = scale + i % row_packs * 8;
        for (int k = 0; k < 8; ++k) store(out.of[k], number(in.of[k]) * factors[k]);
        y[i] = out;
    }
}

/// The same, and of some rows the column sums Σ_r x[r][c] · z[r][c]: blockIdx.y numbers these parts.
extern "C" __global__ void scale_columns_and_sum(const Pack *x, const float *scale, Pack *y, const Pack *z, float *sums,
                                                 u32 rows, u32 row_packs, u32 part_rows) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= row_packs) return;
    u32 first = blockIdx.y * part_rows, last = min(first + part_rows, rows);
    float factors[8], sum[8];
    for (int k = 0; k < 8; ++k) {
        factors[k] = scale[8 * column + k];
        sum[k] = 0;
    }
#pragma unroll 4
    for (u32 row = first; row < last; ++row) {
        u32 i = row * row_packs + column;
        Pack in = x[i], other = z[i], out;
        for (int k = 0; k < 8; ++k) {
            float a = number(in.of[k]);
            sum[k] += a * number(other.of[k]);
            store(out.of[k], a * factors[k]);
        }
        y[i] = out;
    }
    for (int k = 0; k < 8; ++k) sums[(blockIdx.y * row_packs + column) * 8 + k] = sum[k];
}

/// ±1 of the eight bits of each byte; 1 means −1.
extern "C" __global__ void unpack_signs(const u8 *bits, Pack *y, u32 bytes) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < bytes; i += gridDim.x * blockDim.x) {
        u32 byte = bits[i];
        Pack out;
        for (int k = 0; k < 8; ++k) store(out.of[k], byte >> k & 1 ? -1.0f : 1.0f);
        y[i] = out;
    }
}

/// A row per block: y = x r ⊙ w, r = 1 / √(mean(x²) + ε).
extern "C" __global__ void rms_norm(const Pack *x, const float *weight, Pack *y, float *reciprocals, u32 row_packs,
                                    float epsilon) {
    const Pack *row = x + (u64)blockIdx.x * row_packs;
    Pack *to = y + (u64)blockIdx.x * row_packs;
    float squares[1] = {0};
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack in = row[i];
        for (int k = 0; k < 8; ++k) squares[0] += number(in.of[k]) * number(in.of[k]);
    }
    block_sums(squares);
    float r = rsqrtf(squares[0] / (8 * row_packs) + epsilon);
    if (threadIdx.x == 0) reciprocals[blockIdx.x] = r;
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack in = row[i], out;
        for (int k = 0; k < 8; ++k) store(out.of[k], number(in.of[k]) * r * weight[8 * i + k]);
        to[i] = out;
    }
}

/// A row per block: dx = r (dy ⊙ w − x̂ mean(dy ⊙ w ⊙ x̂)), x̂ = x r.
extern "C" __global__ void rms_norm_gradient(const Pack *x, const float *weight, const float *reciprocals, const Pack *dy,
                                             Pack *dx, u32 row_packs) {
    u64 start = (u64)blockIdx.x * row_packs;
    float r = reciprocals[blockIdx.x], projection[1] = {0};
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack in = x[start + i], up = dy[start + i];
        for (int k = 0; k < 8; ++k) projection[0] += number(up.of[k]) * weight[8 * i + k] * (number(in.of[k]) * r);
    }
    block_sums(projection);
    float mean = projection[0] / (8 * row_packs);
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack in = x[start + i], up = dy[start + i], out;
        for (int k = 0; k < 8; ++k) {
            store(out.of[k], (number(up.of[k]) * weight[8 * i + k] - number(in.of[k]) * r * mean) * r);
        }
        dx[start + i] = out;
    }
}

/// Of some rows the column sums Σ_r a[r][c] · b[r][c] · factors[r]: blockIdx.y numbers these parts.
extern "C" __global__ void sum_columns(const Pack *a, const Pack *b, const float *factors, float *sums, u32 rows,
                                       u32 row_packs, u32 part_rows) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= row_packs) return;
    u32 first = blockIdx.y * part_rows, last = min(first + part_rows, rows);
    float sum[8] = {0};
#pragma unroll 4
    for (u32 row = first; row < last; ++row) {
        Pack left = a[row * row_packs + column], right = b[row * row_packs + column];
        float factor = factors[row];
        for (int k = 0; k < 8; ++k) sum[k] += number(left.of[k]) * (number(right.of[k]) * factor);
    }
    for (int k = 0; k < 8; ++k) sums[(blockIdx.y * row_packs + column) * 8 + k] = sum[k];
}

__device__ inline float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

/// z = silu(a) ⊙ b.
extern "C" __global__ void swiglu(const Pack *a, const Pack *b, Pack *z, u32 packs) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += gridDim.x * blockDim.x) {
        Pack gate = a[i], up = b[i], out;
        for (int k = 0; k < 8; ++k) {
            float x = number(gate.of[k]);
            store(out.of[k], x * sigmoid(x) * number(up.of[k]));
        }
        z[i] = out;
    }
}

extern "C" __global__ void swiglu_gradient(const Pack *a, const Pack *b, const Pack *dz, Pack *da, Pack *db, u32 packs) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += gridDim.x * blockDim.x) {
        Pack gate = a[i], up = b[i], upstream = dz[i], by_gate, by_up;
        for (int k = 0; k < 8; ++k) {
            float x = number(gate.of[k]), s = sigmoid(x), d = number(upstream.of[k]);
            store(by_gate.of[k], d * number(up.of[k]) * (s * (1 + x * (1 - s))));
            store(by_up.of[k], d * (x * s));
        }
        da[i] = by_gate;
        db[i] = by_up;
    }
}

/// Rotates the pairs (x[j], x[j + size/2]) of x [tokens, heads, size] by the angles of the token's place in its sequence.
/// The tables are [length, half]; a thread takes eight pairs.
extern "C" __global__ void rotate(const Pack *x, const Pack *cosines, const Pack *sines, Pack *y, u32 packs, u32 half_packs,
                                  u32 heads, u32 length, float direction) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += gridDim.x * blockDim.x) {
        u32 pair = i % half_packs, head = i / half_packs, token = head / heads;
        u32 low = head * 2 * half_packs + pair, high = low + half_packs, angle = token % length * half_packs + pair;
        Pack x1 = x[low], x2 = x[high], c = cosines[angle], s = sines[angle], y1, y2;
        for (int k = 0; k < 8; ++k) {
            float a = number(x1.of[k]), b = number(x2.of[k]), turn = direction * number(s.of[k]);
            store(y1.of[k], a * number(c.of[k]) - b * turn);
            store(y2.of[k], b * number(c.of[k]) + a * turn);
        }
        y[low] = y1;
        y[high] = y2;
    }
}

/// A row per block: ‖t̂ − ŝ‖², t̂ = t/‖t‖, ŝ = s/‖s‖, and by s: factor · (ŝ (t̂·ŝ) − t̂) / ‖s‖.
extern "C" __global__ void direction_loss(const Pack *teacher, const Pack *student, float *losses, Pack *gradient,
                                          u32 row_packs, float factor) {
    u64 start = (u64)blockIdx.x * row_packs;
    float squares[2] = {0, 0};
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack t = teacher[start + i], s = student[start + i];
        for (int k = 0; k < 8; ++k) {
            squares[0] += number(t.of[k]) * number(t.of[k]);
            squares[1] += number(s.of[k]) * number(s.of[k]);
        }
    }
    block_sums(squares);
    const float tiny = 1e-12f;  // keeps an all-zero state finite
    float by_t = 1 / max(sqrtf(squares[0]), tiny), by_s = 1 / max(sqrtf(squares[1]), tiny), sums[2] = {0, 0};
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack t = teacher[start + i], s = student[start + i];
        for (int k = 0; k < 8; ++k) {
            float a = number(t.of[k]) * by_t, b = number(s.of[k]) * by_s;
            sums[0] += (a - b) * (a - b);
            sums[1] += a * b;
        }
    }
    block_sums(sums);
    if (threadIdx.x == 0) losses[blockIdx.x] = sums[0];
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack t = teacher[start + i], s = student[start + i], out;
        for (int k = 0; k < 8; ++k) {
            float a = number(t.of[k]) * by_t, b = number(s.of[k]) * by_s;
            store(out.of[k], (b * sums[1] - a) * by_s * factor);
        }
        gradient[start + i] = out;
    }
}

/// max x and Σ exp(x − max) of what has been seen.
struct Exponentials {
    float largest = -INFINITY, sum = 0;
    __device__ void add(const Pack &pack) {
        float top = largest;
        for (int k = 0; k < 8; ++k) top = max(top, number(pack.of[k]));
        if (top == -INFINITY) return;
        sum *= __expf(largest - top);
        for (int k = 0; k < 8; ++k) sum += __expf(number(pack.of[k]) - top);
        largest = top;
    }
    /// log Σ exp x over the block.
    __device__ float log_sum() {
        float top = block_max(largest);
        float sums[1] = {largest == -INFINITY ? 0 : sum * __expf(largest - top)};
        block_sums(sums);
        return top + logf(sums[0]);
    }
};

/// A row of logits per block: a KL(p_t ‖ p_s) − b log p_s[target], its two terms without their factors, and its gradient by
/// the student's logits: a (p_s − p_t) + b (p_s − onehot(target)). There may be no teacher, and no target (−1).
extern "C" __global__ void logit_loss(const Pack *student, const Pack *teacher, const i64 *targets, float *divergences,
                                      float *cross_entropies, Pack *gradient, u32 row_packs, float a, float b) {
    u64 start = (u64)blockIdx.x * row_packs;
    Exponentials of_student, of_teacher;
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        of_student.add(student[start + i]);
        if (teacher) of_teacher.add(teacher[start + i]);
    }
    float s_log = of_student.log_sum(), t_log = teacher ? of_teacher.log_sum() : 0;
    i64 target = targets ? targets[blockIdx.x] : -1;
    float s_weight = (teacher ? a : 0) + (target >= 0 ? b : 0), divergence[1] = {0};
    for (u32 i = threadIdx.x; i < row_packs; i += blockDim.x) {
        Pack s = student[start + i], out;
        float by_s[8];
        for (int k = 0; k < 8; ++k) by_s[k] = s_weight * __expf(number(s.of[k]) - s_log);
        if (teacher) {
            Pack t = teacher[start + i];
            for (int k = 0; k < 8; ++k) {
                float log_t = number(t.of[k]) - t_log, p_t = __expf(log_t);
                divergence[0] += p_t * (log_t - (number(s.of[k]) - s_log));
                by_s[k] -= a * p_t;
            }
        }
        for (int k = 0; k < 8; ++k) {
            if (8 * (i64)i + k == target) {
                cross_entropies[blockIdx.x] = s_log - number(s.of[k]);
                by_s[k] -= b;
            }
            store(out.of[k], by_s[k]);
        }
        gradient[start + i] = out;
    }
    block_sums(divergence);
    if (threadIdx.x == 0) {
        divergences[blockIdx.x] = divergence[0];
        if (target < 0) cross_entropies[blockIdx.x] = 0;
    }
}
)CUDA"
