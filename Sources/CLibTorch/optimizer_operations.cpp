// AdamW's step made of libtorch's operations, for rows on a device: the same equations, storage forms and random bits as
// optimizer.cpp's loops, some million elements at a time.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "handle.h"
#include "optimizer.h"
#include "sign_matrix.h"

namespace {

constexpr int64_t block = LT_MOMENT_BLOCK;
/// Elements at a time: bounds what lies between the operations to some hundred megabytes.
constexpr int64_t elements_at_a_time = 1 << 23;

// MARK: Random bits

/// `count` bits of each number from bit `first` on.
at::Tensor bits_of(const at::Tensor &x, int first, int count) {
    return at::bitwise_right_shift(x, first).bitwise_and_((int64_t{1} << count) - 1);
}

/// x >> bits of unsigned numbers, which libtorch has as signed ones.
at::Tensor shifted(const at::Tensor &x, int bits) {
    return bits_of(x, bits, 64 - bits);
}

constexpr int64_t as_signed(uint64_t x) { return static_cast<int64_t>(x); }

/// The finalizer of SplitMix64 at key + 0x9E37… · (position + 1), for `count` positions from `first` on.
at::Tensor random_bits(uint64_t key, int64_t first, int64_t count, at::Device device) {
    at::Tensor x = at::arange(first + 1, first + 1 + count, at::TensorOptions().dtype(at::kLong).device(device));
    x.mul_(as_signed(0x9E3779B97F4A7C15)).add_(as_signed(key));
    x.bitwise_xor_(shifted(x, 30)).mul_(as_signed(0xBF58476D1CE4E5B9));
    x.bitwise_xor_(shifted(x, 27)).mul_(as_signed(0x94D049BB133111EB));
    return x.bitwise_xor_(shifted(x, 31));
}

// MARK: Storage forms

/// The bfloat16 below or above x, as float32: uniform bits below the last kept one, then cut off.
at::Tensor rounded_to_bfloat16(const at::Tensor &x, const at::Tensor &random, int shift) {
    at::Tensor bits = bits_of(random, shift, 16).to(at::kInt);
    return bits.add_(x.contiguous().view(at::kInt)).bitwise_and_(~0xFFFF).view(at::kFloat);
}

/// Moments of some rows.
struct Moments {
    at::Tensor data, scale;
    bool is_signed;

    Moments(const lt_tensor *data, const lt_tensor *scale, bool is_signed, int64_t row, int64_t count)
        : data(data->value.narrow(0, row, count)), is_signed(is_signed) {
        if (scale) this->scale = scale->value.narrow(0, row, count);
    }

    int64_t top() const { return is_signed ? 127 : 255; }

    at::Tensor levels() const {
        // From memory that lives as long as the process.
        auto *first = const_cast<float *>(onebit::moment_levels(is_signed));
        return at::from_blob(first, {top() + 1}, at::TensorOptions().dtype(at::kFloat)).to(data.device());
    }

    /// A number per block, for each of its elements.
    at::Tensor spread(const at::Tensor &per_block) const {
        return per_block.repeat_interleave(block, 1).narrow(1, 0, data.size(1));
    }

    at::Tensor load() const {
        if (data.scalar_type() != at::kByte) return data.to(at::kFloat, false, /*copy=*/true);
        at::Tensor codes = data.to(at::kInt);
        at::Tensor index = is_signed ? codes.bitwise_and(127) : codes;
        at::Tensor x = levels().index_select(0, index.view(-1)).view(data.sizes()).mul_(spread(scale));
        return is_signed ? at::where(codes.ge(128), x.neg(), x) : x;
    }

    void store(const at::Tensor &x, const at::Tensor &random, int shift) {
        if (data.scalar_type() == at::kFloat) {
            data.copy_(x);
        } else if (data.scalar_type() == at::kBFloat16) {
            data.copy_(rounded_to_bfloat16(x, random, shift));
        } else {
            int64_t rows = data.size(0), blocks = scale.size(1);
            at::Tensor magnitude = x.abs();
            at::Tensor unit = at::constant_pad_nd(magnitude, {0, blocks * block - data.size(1)})
                                  .view({rows, blocks, block})
                                  .amax(-1);
            unit.masked_fill_(unit.lt(std::numeric_limits<float>::min()), 0);
            scale.copy_(unit);
            magnitude.mul_(spread(at::where(unit.gt(0), unit.reciprocal(), unit)));
            at::Tensor u = bits_of(random, shift, 24).to(at::kFloat).mul_(0x1p-24f);
            at::Tensor codes = code(magnitude, u);
            if (is_signed) codes.add_(at::signbit(x).to(at::kInt).mul_(128));
            data.copy_(codes);
        }
    }

    /// The level below or above x in [0, 1], the nearer one more likely.
    at::Tensor code(const at::Tensor &x, const at::Tensor &u) const {
        at::Tensor level = levels();
        float least = onebit::moment_levels(is_signed)[1];
        at::Tensor low =
            at::bucketize(x, level, /*out_int32=*/true, /*right=*/true).sub_(1).clamp_(1, top() - 1);
        auto level_at = [&](const at::Tensor &index) {
            return level.index_select(0, index.view(-1)).view(x.sizes());
        };
        at::Tensor below = level_at(low), width = level_at(low.add(1)).sub_(below);
        at::Tensor codes = low.add_(u.mul(width).lt(x.sub(below)).to(at::kInt));
        codes.masked_fill_(x.ge(1), top());
        // The second moment does not become zero: a step would be infinite.
        at::Tensor smallest = is_signed ? u.mul(least).lt(x) : x.gt(0);
        return at::where(x.lt(least), smallest.to(at::kInt), codes);
    }
};

// MARK: Gradients

/// d, or dW = P ⊙ (h gᵀ) ⊙ sign′(W), of some rows.
at::Tensor gradient_of(const lt_tensor *gradient, const lt_latent_scales *latent, const at::Tensor &value, int64_t row,
                       int64_t count) {
    at::Tensor d = gradient->value.view({-1, value.size(1)}).narrow(0, row, count).to(at::kFloat, false, /*copy=*/true);
    if (!latent) return d;
    d.mul_(latent->output_scale->value.to(at::kFloat).narrow(0, row, count).unsqueeze(-1));
    d.mul_(latent->input_scale->value.to(at::kFloat));
    if (latent->sign_gradient == LT_SIGN_HARD) return d.masked_fill_(value.abs().ge(1), 0);
    return d.mul_(at::tanh(value).square_().neg_().add_(1.001));  // the released code's 1.001
}

int64_t rows_at_a_time(const at::Tensor &value) {
    return std::max<int64_t>(1, elements_at_a_time / std::max<int64_t>(1, value.size(1)));
}

}  // namespace

at::Tensor onebit::gradient_square_sum_by_operations(const lt_adamw_rows &rows, const lt_tensor *gradient,
                                                     const lt_latent_scales *latent) {
    c10::NoGradGuard unrecorded;
    const at::Tensor &value = rows.value->value;
    at::Tensor sum = at::zeros({}, value.options().dtype(at::kDouble));
    int64_t step = rows_at_a_time(value);
    for (int64_t row = 0; row < value.size(0); row += step) {
        int64_t count = std::min(step, value.size(0) - row);
        at::Tensor w = value.narrow(0, row, count).to(at::kFloat);
        sum.add_(gradient_of(gradient, latent, w, row, count).square_().sum(at::kDouble));
    }
    return sum;
}

at::Tensor onebit::adamw_step_by_operations(const lt_adamw_rows &rows, const lt_tensor *gradient,
                                            const lt_latent_scales *latent, const lt_adamw_settings &settings,
                                            uint64_t seed, int64_t first_element, lt_tensor *signs) {
    c10::NoGradGuard unrecorded;
    const at::Tensor &value = rows.value->value;
    uint64_t key = onebit::random_key(seed, settings.step);
    bool rounds = value.scalar_type() != at::kFloat || rows.first_moment->value.scalar_type() != at::kFloat ||
                  rows.second_moment->value.scalar_type() != at::kFloat;
    at::Tensor turned = at::zeros({}, value.options().dtype(at::kLong));

    // m ← m + (1 − β₁)(d − m),  v ← β₂ v + (1 − β₂) d²
    // w ← (1 − ηλ) w − η / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
    double t = static_cast<double>(settings.step);
    double decay = 1 - settings.learning_rate * settings.weight_decay;
    double rate = settings.learning_rate / (1 - std::pow(settings.beta1, t));
    double root = 1 / std::sqrt(1 - std::pow(settings.beta2, t));

    int64_t step = rows_at_a_time(value);
    for (int64_t row = 0; row < value.size(0); row += step) {
        int64_t count = std::min(step, value.size(0) - row);
        at::Tensor place = value.narrow(0, row, count);
        Moments first(rows.first_moment, rows.first_scale, true, row, count);
        Moments second(rows.second_moment, rows.second_scale, false, row, count);
        at::Tensor w = place.to(at::kFloat, false, /*copy=*/true), m = first.load(), v = second.load();
        at::Tensor d = gradient_of(gradient, latent, w, row, count).mul_(settings.gradient_factor);
        at::Tensor was_negative = signs ? w.lt(0) : at::Tensor();
        m.add_(d.sub(m), 1 - settings.beta1);
        v.mul_(settings.beta2).addcmul_(d, d, 1 - settings.beta2);
        w.mul_(decay).addcdiv_(m, v.sqrt().mul_(root).add_(settings.epsilon), -rate);

        at::Tensor random;
        if (rounds) {
            random = random_bits(key, first_element + row * value.size(1), w.numel(), w.device()).view(w.sizes());
        }
        if (place.scalar_type() == at::kBFloat16) w = rounded_to_bfloat16(w, random, value_bits);
        place.copy_(w);
        first.store(m, random, first_moment_bits);
        second.store(v, random, second_moment_bits);
        if (!signs) continue;
        turned.add_(was_negative.ne(w.lt(0)).sum());
        signs->value.narrow(0, row, count).copy_(onebit::packed_signs(w));
    }
    return turned;
}
