// The layers of a transformer as fused autograd functions: each saves the least that its backward pass needs.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "device_kernels.h"
#include "handle.h"
#include "parallel.h"
#include "products.h"
#include "row_kernels.h"

using onebit::guarded_tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

at::Tensor rows_of(const at::Tensor &x) { return x.reshape({-1, x.size(-1)}); }

/// y = x Wᵀ + b. dx = dy W, dW = dyᵀ x, db = Σ_rows dy.
struct Linear : torch::autograd::Function<Linear> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &weight,
                              const std::optional<at::Tensor> &bias) {
        onebit::throw_if_stopped();
        context->save_for_backward({x, weight});
        context->saved_data["bias_type"] = bias ? static_cast<int64_t>(bias->scalar_type()) : -1;
        std::vector<int64_t> shape = x.sizes().vec();
        shape.back() = weight.size(0);
        at::Tensor y = onebit::product_transposed(rows_of(x), weight.to(x.scalar_type())).view(shape);
        if (bias) y.add_(*bias);
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &weight = saved[1], &dy = upstream[0];
        at::Tensor dx, dweight, dbias;
        if (context->needs_input_grad(0)) {
            dx = onebit::product(rows_of(dy), weight.to(x.scalar_type())).view(x.sizes());
        }
        if (context->needs_input_grad(1)) {
            dweight = onebit::product(rows_of(dy).t(), rows_of(x)).to(weight.scalar_type());
        }
        int64_t bias_type = context->saved_data["bias_type"].toInt();
        if (bias_type >= 0 && context->needs_input_grad(2)) {
            dbias = rows_of(dy).sum(0, false, static_cast<at::ScalarType>(bias_type));
        }
        return {dx, dweight, dbias};
    }
};

/// y = x̂ ⊙ w with x̂ = x · r, r = 1 / sqrt(mean(x²) + ε) per row, in float32. Saved: x, w, r.
///   dx = r (dy ⊙ w − x̂ mean(dy ⊙ w ⊙ x̂)),   dw = Σ_rows dy ⊙ x̂.
struct RMSNorm : torch::autograd::Function<RMSNorm> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &weight, double epsilon) {
        onebit::throw_if_stopped();
        at::Tensor y, r;
        if (x.is_cpu()) {
            at::Tensor rows = onebit::plain_floats(rows_of(x)), w = onebit::plain_floats(weight);
            int64_t width = x.size(-1);
            y = at::empty_like(rows);
            r = at::empty({rows.size(0)}, rows.options());
            onebit::for_blocks(rows.size(0), [&](int64_t, int64_t first, int64_t count) {
                for (int64_t row = first; row < first + count; ++row) {
                    onebit::write(r)[row] =
                        onebit::kernels().rms_norm(onebit::read(rows) + row * width, onebit::read(w), width,
                                                   static_cast<float>(epsilon), onebit::write(y) + row * width);
                }
            });
            y = y.view(x.sizes()).to(x.scalar_type());
        } else if (onebit::device_kernels::know({x})) {
            std::tie(y, r) = onebit::device_kernels::rms_norm(x, weight, epsilon);
        } else {
            at::Tensor wide = x.to(at::kFloat);
            r = wide.square().mean(-1, true).add_(epsilon).rsqrt_();
            y = (wide * r).mul_(weight).to(x.scalar_type());
        }
        context->save_for_backward({x, weight, r});
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &weight = saved[1], &r = saved[2];
        if (x.is_cpu()) {
            at::Tensor rows = onebit::plain_floats(rows_of(x)), dy = onebit::plain_floats(rows_of(upstream[0]));
            at::Tensor w = onebit::plain_floats(weight), dx = at::empty_like(rows);
            int64_t width = x.size(-1);
            onebit::BlockSums dw(rows.size(0), width, /*wanted=*/true);
            onebit::for_blocks(rows.size(0), [&](int64_t block, int64_t first, int64_t count) {
                for (int64_t row = first; row < first + count; ++row) {
                    onebit::kernels().rms_norm_gradient(onebit::read(dy) + row * width, onebit::read(rows) + row * width,
                                                        onebit::read(w), onebit::read(r)[row], width,
                                                        onebit::write(dx) + row * width, dw.of(block));
                }
            });
            return {dx.view(x.sizes()).to(x.scalar_type()), dw.total().to(weight.scalar_type()), at::Tensor()};
        }
        if (at::Tensor dy = upstream[0].contiguous(); onebit::device_kernels::know({x, dy})) {
            auto [dx, dweight] = onebit::device_kernels::rms_norm_gradient(x, weight, r, dy, context->needs_input_grad(1));
            return {dx, dweight.defined() ? dweight.to(weight.scalar_type()) : dweight, at::Tensor()};
        }
        at::Tensor dy = upstream[0].to(at::kFloat);
        at::Tensor normalized = x * r;
        at::Tensor dx, dweight;
        if (context->needs_input_grad(1)) dweight = rows_of(dy * normalized).sum(0).to(weight.scalar_type());
        if (context->needs_input_grad(0)) {
            dx = dy * weight;
            at::Tensor projection = (dx * normalized).mean(-1, true);
            dx = dx.sub_(normalized.mul_(projection)).mul_(r).to(x.scalar_type());
        }
        return {dx, dweight, at::Tensor()};
    }
};

/// z = silu(gate) ⊙ up. Saved: gate, up; silu(gate) is computed again.
struct SwiGLU : torch::autograd::Function<SwiGLU> {
    /// Calls `body` with blocks of the elements of CPU floats: first element and count.
    static void for_elements(int64_t count, c10::function_ref<void(int64_t first, int64_t count)> body) {
        constexpr int64_t grain = 1 << 14;
        onebit::parallel_for(0, (count + grain - 1) / grain, 1, [&](int64_t begin, int64_t end) {
            body(begin * grain, std::min(end * grain, count) - begin * grain);
        });
    }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &gate, const at::Tensor &up) {
        onebit::throw_if_stopped();
        context->save_for_backward({gate, up});
        if (onebit::device_kernels::know({gate, up})) return onebit::device_kernels::swiglu(gate, up);
        if (!gate.is_cpu() || gate.scalar_type() != at::kFloat) return at::silu(gate).mul_(up);
        at::Tensor a = onebit::plain_floats(gate), b = onebit::plain_floats(up), z = at::empty_like(a);
        for_elements(a.numel(), [&](int64_t first, int64_t count) {
            onebit::kernels().swiglu(onebit::read(a) + first, onebit::read(b) + first, count, onebit::write(z) + first);
        });
        return z;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &gate = saved[0], &up = saved[1];
        if (at::Tensor dz = upstream[0].contiguous(); onebit::device_kernels::know({gate, up, dz})) {
            auto [by_gate, by_up] = onebit::device_kernels::swiglu_gradient(gate, up, dz);
            return {by_gate, by_up};
        }
        if (!gate.is_cpu() || gate.scalar_type() != at::kFloat) {
            const at::Tensor &dz = upstream[0];
            return {at::silu_backward(dz * up, gate), at::silu(gate).mul_(dz)};
        }
        at::Tensor a = onebit::plain_floats(gate), b = onebit::plain_floats(up), dz = onebit::plain_floats(upstream[0]);
        at::Tensor da = at::empty_like(a), db = at::empty_like(a);
        for_elements(a.numel(), [&](int64_t first, int64_t count) {
            onebit::kernels().swiglu_gradient(onebit::read(dz) + first, onebit::read(a) + first, onebit::read(b) + first,
                                              count, onebit::write(da) + first, onebit::write(db) + first);
        });
        return {da, db};
    }
};

/// Rotates the pairs (x[j], x[j + size/2]) of x [batch, length, heads, size] by the angles of their position.
at::Tensor rotated(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines, double direction) {
    if (onebit::device_kernels::know_rotation(x, cosines, sines)) {
        return onebit::device_kernels::rotated(x, cosines, sines, direction);
    }
    int64_t half = x.size(-1) / 2;
    at::Tensor c = cosines.unsqueeze(-2), s = sines.unsqueeze(-2);  // [length, 1, size / 2], or a batch of these
    at::Tensor result = at::empty(x.sizes(), x.options());
    at::Tensor x1 = x.narrow(-1, 0, half), x2 = x.narrow(-1, half, half);
    at::Tensor y1 = result.narrow(-1, 0, half), y2 = result.narrow(-1, half, half);
    at::mul_out(y1, x1, c).addcmul_(x2, s, -direction);
    at::mul_out(y2, x2, c).addcmul_(x1, s, direction);
    return result;
}

/// A rotation's gradient is the rotation back. Saved: nothing but the tables.
struct Rotary : torch::autograd::Function<Rotary> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &cosines,
                              const at::Tensor &sines) {
        onebit::throw_if_stopped();
        context->save_for_backward({cosines, sines});
        return rotated(x, cosines, sines, 1);
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        return {rotated(upstream[0], saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
    }
};

}  // namespace

lt_tensor *lt_embedding(const lt_tensor *weight, const lt_tensor *indices) {
    return guarded_tensor([&] { return at::embedding(weight->value, indices->value); });
}

lt_tensor *lt_linear(const lt_tensor *x, const lt_tensor *weight, const lt_tensor *bias) {
    return guarded_tensor([&] {
        return Linear::apply(x->value, weight->value, bias ? std::optional<at::Tensor>(bias->value) : std::nullopt);
    });
}

lt_tensor *lt_layer_norm(const lt_tensor *x, const lt_tensor *weight, const lt_tensor *bias, double epsilon) {
    return guarded_tensor([&] {
        at::Tensor wide = x->value.to(at::kFloat);
        return at::layer_norm(wide, {wide.size(-1)}, weight->value.to(at::kFloat), bias->value.to(at::kFloat), epsilon)
            .to(x->value.scalar_type());
    });
}

lt_tensor *lt_relu(const lt_tensor *x) {
    return guarded_tensor([&] { return at::relu(x->value); });
}

lt_tensor *lt_soft_cap(const lt_tensor *x, double cap) {
    return guarded_tensor([&] { return at::tanh(x->value / cap) * cap; });
}

lt_tensor *lt_gelu_tanh(const lt_tensor *x) {
    return guarded_tensor([&] { return at::gelu(x->value, "tanh"); });
}

lt_tensor *lt_rms_norm(const lt_tensor *x, const lt_tensor *weight, double epsilon) {
    return guarded_tensor([&] { return RMSNorm::apply(x->value, weight->value, epsilon); });
}

lt_tensor *lt_swiglu(const lt_tensor *gate, const lt_tensor *up) {
    return guarded_tensor([&] { return SwiGLU::apply(gate->value, up->value); });
}

lt_tensor *lt_rotary(const lt_tensor *x, const lt_tensor *cosines, const lt_tensor *sines) {
    return guarded_tensor([&] { return Rotary::apply(x->value, cosines->value, sines->value); });
}
