// AdamW on rows of one parameter, written in place: one pass reads the gradient, forms dW where the rows are latent weights,
// clips, steps, rounds to the storage forms, packs signs and counts those that turned.

#include <ATen/ATen.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "device_kernels.h"
#include "handle.h"
#include "optimizer.h"
#include "parallel.h"

using onebit::guarded_effect;
using onebit::guarded_tensor;

namespace {

/// Elements that share a scale, and that a pass keeps in registers and first-level cache between its loops.
constexpr int64_t block = LT_MOMENT_BLOCK;

// MARK: Random bits

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

struct RandomBits {
    uint64_t key;
    uint64_t operator()(int64_t position) const {
        return mixed(key + 0x9E3779B97F4A7C15 * (static_cast<uint64_t>(position) + 1));
    }
};

// MARK: Storage forms

/// The bfloat16 below or above `x`, the nearer one more likely: the mean is `x`. Adding uniform bits below the last kept one
/// and cutting off does it, since the bits of a float are ordered as its magnitude.
uint16_t rounded_to_bfloat16(float x, uint32_t sixteen_bits) {
    return static_cast<uint16_t>((std::bit_cast<uint32_t>(x) + sixteen_bits) >> 16);
}

float from_bfloat16(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

/// Levels of an 8-bit moment relative to the largest magnitude of its block: 0, and `steps_per_octave` levels for each
/// halving. A relative error of 3.5 % at the most, everywhere in the range; a linear map or one of few decades flushes what
/// is small beside the block's largest element, and a second moment of zero makes the step infinite (Dettmers et al. 2022,
/// "8-bit Optimizers via Block-wise Quantization", §2.2, has a dynamic map for the same reason).
template <int top>
struct LogarithmicMap {
    static constexpr int steps_per_octave = 10;
    std::array<float, top + 1> level;
    /// ⌊steps_per_octave · log2 f⌋ of f in [1, 2), by the first seven bits of its fraction.
    std::array<uint8_t, 128> fraction;

    LogarithmicMap() {
        level[0] = 0;
        for (int code = 1; code <= top; ++code) {
            level[code] = static_cast<float>(std::exp2(static_cast<double>(code - top) / steps_per_octave));
        }
        for (int i = 0; i < 128; ++i) {
            fraction[i] = static_cast<uint8_t>(std::floor(steps_per_octave * std::log2(1 + i / 128.0)));
        }
    }

    /// The level below or above x in [0, 1], the nearer one more likely; `u` is uniform in [0, 1).
    int code(float x, float u, bool keeps_above_zero) const {
        if (x < level[1]) return keeps_above_zero ? (x > 0) : (u * level[1] < x);
        if (x >= 1) return top;
        uint32_t bits = std::bit_cast<uint32_t>(x);
        int exponent = static_cast<int>(bits >> 23) - 127;
        int low = std::clamp(top + steps_per_octave * exponent + fraction[(bits >> 16) & 127], 1, top - 1);
        while (low < top - 1 && level[low + 1] <= x) ++low;
        while (low > 1 && level[low] > x) --low;
        return low + (u * (level[low + 1] - level[low]) < x - level[low]);
    }
};

/// Sign and magnitude: 127 levels, 12.6 octaves.
const LogarithmicMap<127> &signed_map() {
    static const LogarithmicMap<127> map;
    return map;
}

/// 255 levels, 25.4 octaves.
const LogarithmicMap<255> &unsigned_map() {
    static const LogarithmicMap<255> map;
    return map;
}

/// Uniform in [0, 1) from 24 bits.
float uniform(uint32_t twenty_four_bits) { return static_cast<float>(twenty_four_bits & 0xFFFFFF) * 0x1p-24f; }

float largest_magnitude(const float *x, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
    return largest;
}

/// Moments of up to one block, in one of their storage forms.
struct Moments {
    void *data;
    float *scale;
    at::ScalarType type;

    void load(int64_t start, int64_t scale_index, int64_t count, bool is_signed, float *out) const {
        if (type == at::kFloat) {
            std::copy_n(static_cast<const float *>(data) + start, count, out);
        } else if (type == at::kBFloat16) {
            const auto *stored = static_cast<const uint16_t *>(data) + start;
            for (int64_t i = 0; i < count; ++i) out[i] = from_bfloat16(stored[i]);
        } else {
            const auto *codes = static_cast<const uint8_t *>(data) + start;
            float unit = scale[scale_index];
            if (is_signed) {
                const auto &level = signed_map().level;
                for (int64_t i = 0; i < count; ++i) {
                    float magnitude = unit * level[codes[i] & 127];
                    out[i] = codes[i] & 128 ? -magnitude : magnitude;
                }
            } else {
                const auto &level = unsigned_map().level;
                for (int64_t i = 0; i < count; ++i) out[i] = unit * level[codes[i]];
            }
        }
    }

    void store(int64_t start, int64_t scale_index, int64_t count, bool is_signed, const float *x,
               const uint64_t *random, int shift) const {
        if (type == at::kFloat) {
            std::copy_n(x, count, static_cast<float *>(data) + start);
        } else if (type == at::kBFloat16) {
            auto *stored = static_cast<uint16_t *>(data) + start;
            for (int64_t i = 0; i < count; ++i) {
                stored[i] = rounded_to_bfloat16(x[i], static_cast<uint32_t>(random[i] >> shift) & 0xFFFF);
            }
        } else {
            auto *codes = static_cast<uint8_t *>(data) + start;
            float unit = largest_magnitude(x, count);
            if (unit < std::numeric_limits<float>::min()) unit = 0;
            scale[scale_index] = unit;
            float reciprocal = unit > 0 ? 1 / unit : 0;
            for (int64_t i = 0; i < count; ++i) {
                float magnitude = std::abs(x[i]) * reciprocal;
                float u = uniform(static_cast<uint32_t>(random[i] >> shift));
                codes[i] = static_cast<uint8_t>(
                    is_signed ? signed_map().code(magnitude, u, false) | (std::signbit(x[i]) ? 128 : 0)
                              : unsigned_map().code(magnitude, u, true));
            }
        }
    }
};

// MARK: Gradients

/// |tanh x| = 1 − 2 / (e^2|x| + 1), to float's precision. Unlike the library's function, compilers turn it into vector
/// instructions: e^y = 2ⁿ e^r, |r| ≤ ½ ln 2, by the first terms of the exponential series.
float magnitude_of_tanh(float x) {
    float y = std::min(2 * std::abs(x), 40.0f);
    int n = static_cast<int>(y * 1.44269504f + 0.5f);
    float r = (y - static_cast<float>(n) * 0.693359375f) + static_cast<float>(n) * 2.12194440e-4f;
    float series = 1 + r * (1 + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
    return 1 - 2 / (series * std::bit_cast<float>((n + 127) << 23) + 1);
}

/// A parameter's gradient, or P = dYᵀX of a latent matrix, of which dW = P ⊙ (h gᵀ) ⊙ sign′(W).
struct Gradient {
    const void *data;
    at::ScalarType type;
    /// h of these rows and g; null where the gradient is that of the values themselves.
    const float *output_scale = nullptr, *input_scale = nullptr;
    lt_sign_gradient sign_gradient = LT_SIGN_TANH;

    void load(int64_t row, int64_t column, int64_t columns, int64_t count, float factor, const float *value,
              float *out) const {
        int64_t start = row * columns + column;
        if (type == at::kFloat) {
            const auto *x = static_cast<const float *>(data) + start;
            for (int64_t i = 0; i < count; ++i) out[i] = x[i] * factor;
        } else if (type == at::kBFloat16) {
            const auto *x = static_cast<const uint16_t *>(data) + start;
            for (int64_t i = 0; i < count; ++i) out[i] = from_bfloat16(x[i]) * factor;
        } else {
            const auto *x = static_cast<const c10::Half *>(data) + start;
            for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(x[i]) * factor;
        }
        if (!output_scale) return;
        const float h = output_scale[row], *g = input_scale + column;
        if (sign_gradient == LT_SIGN_TANH) {
            for (int64_t i = 0; i < count; ++i) {
                float t = magnitude_of_tanh(value[i]);
                out[i] *= h * g[i] * (1.001f - t * t);  // the released code's 1.001
            }
        } else {
            for (int64_t i = 0; i < count; ++i) out[i] = std::abs(value[i]) < 1 ? out[i] * h * g[i] : 0;
        }
    }
};

// MARK: Rows

struct Rows {
    int64_t rows, columns;
    void *data;
    at::ScalarType type;
    Moments first, second;

    explicit Rows(const lt_adamw_rows &given) {
        const at::Tensor &value = given.value->value;
        TORCH_CHECK(value.dim() == 2 && value.is_contiguous() && value.is_cpu(), "rows of a matrix on the CPU");
        rows = value.size(0);
        columns = value.size(1);
        data = value.mutable_data_ptr();
        type = value.scalar_type();
        first = moments(given.first_moment, given.first_scale);
        second = moments(given.second_moment, given.second_scale);
    }

    Moments moments(lt_tensor *moment, lt_tensor *scale) const {
        const at::Tensor &value = moment->value;
        TORCH_CHECK(value.numel() == rows * columns && value.is_contiguous() && value.is_cpu(), "moments of other rows");
        TORCH_CHECK((value.scalar_type() == at::kByte) == (scale != nullptr), "8-bit moments have scales, others none");
        return {value.mutable_data_ptr(), scale ? scale->value.mutable_data_ptr<float>() : nullptr,
                value.scalar_type()};
    }

    int64_t blocks_per_row() const { return (columns + block - 1) / block; }

    void load(int64_t start, int64_t count, float *out) const {
        if (type == at::kFloat) {
            std::copy_n(static_cast<const float *>(data) + start, count, out);
        } else {
            const auto *stored = static_cast<const uint16_t *>(data) + start;
            for (int64_t i = 0; i < count; ++i) out[i] = from_bfloat16(stored[i]);
        }
    }

    /// Leaves what was stored in `x`.
    void store(int64_t start, int64_t count, float *x, const uint64_t *random) const {
        if (type == at::kFloat) {
            std::copy_n(x, count, static_cast<float *>(data) + start);
        } else {
            auto *stored = static_cast<uint16_t *>(data) + start;
            for (int64_t i = 0; i < count; ++i) {
                stored[i] = rounded_to_bfloat16(x[i], static_cast<uint32_t>(random[i]) & 0xFFFF);
                x[i] = from_bfloat16(stored[i]);
            }
        }
    }

    /// Rows that a thread takes at a time.
    int64_t grain() const { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, columns)); }
};

/// What keeps the scales alive as contiguous float32, and the gradient that reads them.
struct PreparedGradient {
    at::Tensor gradient, output_scale, input_scale;
    Gradient view;

    PreparedGradient(const Rows &rows, const lt_tensor *given, const lt_latent_scales *latent)
        : gradient(given->value.contiguous()) {
        TORCH_CHECK(gradient.numel() == rows.rows * rows.columns, "a gradient of ", gradient.sizes(), " for [",
                    rows.rows, ", ", rows.columns, "]");
        view.data = gradient.const_data_ptr();
        view.type = gradient.scalar_type();
        if (!latent) return;
        output_scale = latent->output_scale->value.to(at::kFloat).contiguous();
        input_scale = latent->input_scale->value.to(at::kFloat).contiguous();
        TORCH_CHECK(output_scale.numel() == rows.rows && input_scale.numel() == rows.columns, "scales of other rows");
        view.output_scale = static_cast<const float *>(output_scale.const_data_ptr());
        view.input_scale = static_cast<const float *>(input_scale.const_data_ptr());
        view.sign_gradient = latent->sign_gradient;
    }
};

}  // namespace

uint64_t onebit::random_key(uint64_t seed, int64_t step) {
    return mixed(seed + 0x9E3779B97F4A7C15 * static_cast<uint64_t>(step));
}

const float *onebit::moment_levels(bool is_signed) {
    return is_signed ? signed_map().level.data() : unsigned_map().level.data();
}

lt_tensor *lt_gradient_square_sum(lt_adamw_rows given, const lt_tensor *gradient, const lt_latent_scales *latent) {
    return guarded_tensor([&] {
        if (!given.by_operations && onebit::device_kernels::know(given, gradient)) {
            return onebit::device_kernels::gradient_square_sum(given, gradient, latent);
        }
        if (given.by_operations || !given.value->value.is_cpu()) {
            return onebit::gradient_square_sum_by_operations(given, gradient, latent);
        }
        Rows rows(given);
        PreparedGradient prepared(rows, gradient, latent);
        // Row by row, so that the order of the sum is the same for any number of threads.
        std::vector<double> sums(rows.rows);
        onebit::parallel_for(0, rows.rows, rows.grain(), [&](int64_t begin, int64_t end) {
            float w[block], d[block];
            for (int64_t row = begin; row < end; ++row) {
                double sum = 0;
                for (int64_t column = 0; column < rows.columns; column += block) {
                    int64_t count = std::min(block, rows.columns - column);
                    if (latent) rows.load(row * rows.columns + column, count, w);
                    prepared.view.load(row, column, rows.columns, count, 1, w, d);
                    double lanes[8] = {};
                    for (int64_t i = 0; i < count; ++i) lanes[i & 7] += static_cast<double>(d[i]) * d[i];
                    for (double lane : lanes) sum += lane;
                }
                sums[row] = sum;
            }
        });
        double total = 0;
        for (double sum : sums) total += sum;
        return at::scalar_tensor(total, at::kDouble);
    });
}

lt_tensor *lt_adamw_step(lt_adamw_rows given, const lt_tensor *gradient, const lt_latent_scales *latent,
                         lt_adamw_settings settings, uint64_t seed, int64_t first_element, lt_tensor *signs) {
    return guarded_tensor([&] {
        if (!given.by_operations && onebit::device_kernels::know(given, gradient)) {
            return onebit::device_kernels::adamw_step(given, gradient, latent, settings, seed, first_element, signs);
        }
        if (given.by_operations || !given.value->value.is_cpu()) {
            return onebit::adamw_step_by_operations(given, gradient, latent, settings, seed, first_element, signs);
        }
        Rows rows(given);
        PreparedGradient prepared(rows, gradient, latent);
        RandomBits random_bits{onebit::random_key(seed, settings.step)};
        int64_t sign_bytes = (rows.columns + 7) / 8;
        uint8_t *sign_data = nullptr;
        if (signs) {
            TORCH_CHECK(signs->value.numel() == rows.rows * sign_bytes && signs->value.is_contiguous(), "signs of other rows");
            sign_data = signs->value.mutable_data_ptr<uint8_t>();
        }
        bool rounds = rows.type != at::kFloat || rows.first.type != at::kFloat || rows.second.type != at::kFloat;

        // m ← m + (1 − β₁)(d − m),  v ← β₂ v + (1 − β₂) d²
        // w ← (1 − ηλ) w − η / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
        double t = static_cast<double>(settings.step);
        float decay = static_cast<float>(1 - settings.learning_rate * settings.weight_decay);
        float rate = static_cast<float>(settings.learning_rate / (1 - std::pow(settings.beta1, t)));
        float root = static_cast<float>(1 / std::sqrt(1 - std::pow(settings.beta2, t)));
        float new1 = static_cast<float>(1 - settings.beta1), old2 = static_cast<float>(settings.beta2);
        float new2 = static_cast<float>(1 - settings.beta2), epsilon = static_cast<float>(settings.epsilon);
        float factor = static_cast<float>(settings.gradient_factor);

        std::vector<int64_t> turns(rows.rows);
        onebit::parallel_for(0, rows.rows, rows.grain(), [&](int64_t begin, int64_t end) {
            float w[block], d[block], m[block], v[block];
            uint8_t was_negative[block];
            uint64_t random[block];
            for (int64_t row = begin; row < end; ++row) {
                for (int64_t column = 0; column < rows.columns; column += block) {
                    int64_t count = std::min(block, rows.columns - column), start = row * rows.columns + column;
                    int64_t scale = row * rows.blocks_per_row() + column / block;
                    rows.load(start, count, w);
                    prepared.view.load(row, column, rows.columns, count, factor, w, d);
                    rows.first.load(start, scale, count, true, m);
                    rows.second.load(start, scale, count, false, v);
                    for (int64_t i = 0; i < count; ++i) was_negative[i] = w[i] < 0;
                    for (int64_t i = 0; i < count; ++i) {
                        m[i] += new1 * (d[i] - m[i]);
                        v[i] = old2 * v[i] + new2 * d[i] * d[i];
                        w[i] = decay * w[i] - rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
                    }
                    if (rounds) {
                        for (int64_t i = 0; i < count; ++i) random[i] = random_bits(first_element + start + i);
                    }
                    rows.store(start, count, w, random);
                    rows.first.store(start, scale, count, true, m, random, onebit::first_moment_bits);
                    rows.second.store(start, scale, count, false, v, random, onebit::second_moment_bits);
                    if (!sign_data) continue;
                    int64_t turned_here = 0;
                    for (int64_t i = 0; i < count; ++i) turned_here += was_negative[i] != (w[i] < 0);
                    turns[row] += turned_here;
                    uint8_t *bytes = sign_data + row * sign_bytes + column / 8;
                    for (int64_t i = 0; i < count; i += 8) {
                        uint8_t byte = 0;
                        for (int64_t j = 0; j < std::min<int64_t>(8, count - i); ++j) {
                            byte = static_cast<uint8_t>(byte | (w[i + j] < 0) << j);
                        }
                        bytes[i / 8] = byte;
                    }
                }
            }
        });
        int64_t turned = 0;
        for (int64_t count : turns) turned += count;
        return at::scalar_tensor(turned, at::kLong);
    });
}

int lt_read_numbers(lt_tensor *const *tensors, int count, double *numbers) {
    return guarded_effect([&] {
        if (count == 0) return;
        std::vector<at::Tensor> values;
        for (int i = 0; i < count; ++i) values.push_back(tensors[i]->value);
        at::Tensor found = at::stack(values).to(at::kCPU, at::kDouble);
        std::copy_n(static_cast<const double *>(found.const_data_ptr()), count, numbers);
    });
}
