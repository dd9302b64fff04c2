// The layers of a transformer as fused autograd functions: each saves the least that its backward pass needs.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "handle.h"

using onebit::guarded_tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

at::Tensor rows_of(const at::Tensor &x) { return x.reshape({-1, x.size(-1)}); }

/// The dense matrix that a OneBit layer stands for: A[o][i] = h[o] sign(W[o][i]) g[i], sign(0) = +1.
at::Tensor effective_weight(const at::Tensor &latent, const at::Tensor &input_scale, const at::Tensor &output_scale) {
    at::Tensor magnitude = at::outer(output_scale, input_scale);
    return at::where(latent.ge(0), magnitude, magnitude.neg());
}

/// The OneBit layer (paper eq. 3): Y = ((X ⊙ g) sign(W)ᵀ) ⊙ h = X Aᵀ, Z = LayerNorm(Y).
///
/// Saved are X, W, g and h, which exist anyway, and Z with one number per row where there is a LayerNorm; signs in
/// float live only inside a pass. With P = dYᵀ X (one product) all parameter gradients follow without Y:
///   dW = P ⊙ (h gᵀ) ⊙ sign′(W),   dh[o] = Σ_i sign(W) ⊙ P · g[i],   dg[i] = Σ_o sign(W) ⊙ P · h[o],   dX = dY A.
struct SignLinear : torch::autograd::Function<SignLinear> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &latent,
                              const at::Tensor &input_scale, const at::Tensor &output_scale, double layer_norm_epsilon,
                              int64_t sign_gradient) {
        onebit::throw_if_stopped();
        at::Tensor y = at::linear(x, effective_weight(latent, input_scale, output_scale));
        at::Tensor reciprocal_deviation;
        if (layer_norm_epsilon >= 0) {
            std::tie(y, std::ignore, reciprocal_deviation) =
                at::native_layer_norm(y, {y.size(-1)}, {}, {}, layer_norm_epsilon);
        }
        context->save_for_backward({x, latent, input_scale, output_scale,
                                    reciprocal_deviation.defined() ? y : at::Tensor(), reciprocal_deviation});
        context->saved_data["sign_gradient"] = sign_gradient;
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &latent = saved[1], &input_scale = saved[2], &output_scale = saved[3];
        at::Tensor dy = upstream[0];
        if (saved[5].defined()) {
            // Z = (Y − mean) · r per row: dY = r (dZ − mean(dZ) − Z mean(dZ ⊙ Z)).
            const at::Tensor &z = saved[4], &reciprocal_deviation = saved[5];
            at::Tensor centred = dy - dy.mean(-1, true);
            dy = centred.sub_(z * (dy * z).mean(-1, true)).mul_(reciprocal_deviation);
        }
        at::Tensor dx, dlatent, dinput_scale, doutput_scale;
        if (context->needs_input_grad(0)) dx = at::matmul(dy, effective_weight(latent, input_scale, output_scale));

        bool wants_latent = context->needs_input_grad(1);
        bool wants_scales = context->needs_input_grad(2) || context->needs_input_grad(3);
        if (wants_latent || wants_scales) {
            at::Tensor product = at::mm(rows_of(dy).t(), rows_of(x));  // P [out, in]
            if (wants_scales) {
                at::Tensor signed_product = at::where(latent.ge(0), product, product.neg());
                doutput_scale = at::mv(signed_product, input_scale);
                dinput_scale = at::mv(signed_product.t(), output_scale);
            }
            if (wants_latent) {
                product.mul_(at::outer(output_scale, input_scale));
                if (context->saved_data["sign_gradient"].toInt() == LT_SIGN_TANH) {
                    at::Tensor slope = at::tanh(latent).square_().neg_().add_(1.001);  // the released code's 1.001
                    dlatent = product.mul_(slope);
                } else {
                    dlatent = product.masked_fill_(latent.abs().ge(1), 0);
                }
            }
        }
        return {dx, dlatent, dinput_scale, doutput_scale, at::Tensor(), at::Tensor()};
    }
};

/// y = x̂ ⊙ w with x̂ = x · r, r = 1 / sqrt(mean(x²) + ε) per row. Saved: x, w, r.
///   dx = r (dy ⊙ w − x̂ mean(dy ⊙ w ⊙ x̂)),   dw = Σ_rows dy ⊙ x̂.
struct RMSNorm : torch::autograd::Function<RMSNorm> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &weight, double epsilon) {
        onebit::throw_if_stopped();
        at::Tensor r = x.square().mean(-1, true).add_(epsilon).rsqrt_();
        context->save_for_backward({x, weight, r});
        return (x * r).mul_(weight);
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &weight = saved[1], &r = saved[2], &dy = upstream[0];
        at::Tensor normalised = x * r;
        at::Tensor dx, dweight;
        if (context->needs_input_grad(1)) dweight = rows_of(dy * normalised).sum(0);
        if (context->needs_input_grad(0)) {
            dx = dy * weight;
            at::Tensor projection = (dx * normalised).mean(-1, true);
            dx.sub_(normalised.mul_(projection)).mul_(r);
        }
        return {dx, dweight, at::Tensor()};
    }
};

/// z = silu(gate) ⊙ up. Saved: gate, up; silu(gate) is computed again.
struct SwiGLU : torch::autograd::Function<SwiGLU> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &gate, const at::Tensor &up) {
        onebit::throw_if_stopped();
        context->save_for_backward({gate, up});
        return at::silu(gate).mul_(up);
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &gate = saved[0], &up = saved[1], &dz = upstream[0];
        return {at::silu_backward(dz * up, gate), at::silu(gate).mul_(dz)};
    }
};

/// Rotates the pairs (x[j], x[j + size/2]) of x [batch, length, heads, size] by the angles of their position.
at::Tensor rotated(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines, double direction) {
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
        return at::linear(x->value, weight->value, bias ? std::optional<at::Tensor>(bias->value) : std::nullopt);
    });
}

lt_tensor *lt_layer_norm(const lt_tensor *x, const lt_tensor *weight, const lt_tensor *bias, double epsilon) {
    return guarded_tensor([&] {
        return at::layer_norm(x->value, {x->value.size(-1)}, weight->value, bias->value, epsilon);
    });
}

lt_tensor *lt_relu(const lt_tensor *x) {
    return guarded_tensor([&] { return at::relu(x->value); });
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

lt_tensor *lt_attention(const lt_tensor *q, const lt_tensor *k, const lt_tensor *v, const lt_tensor *mask, bool causal) {
    return guarded_tensor([&] {
        std::optional<at::Tensor> bias;
        if (mask) bias = mask->value;
        return at::scaled_dot_product_attention(q->value, k->value, v->value, bias, 0.0, causal);
    });
}

lt_tensor *lt_sign_linear(const lt_tensor *x, const lt_tensor *latent, const lt_tensor *input_scale,
                          const lt_tensor *output_scale, double layer_norm_epsilon, lt_sign_gradient gradient) {
    return guarded_tensor([&] {
        return SignLinear::apply(x->value, latent->value, input_scale->value, output_scale->value, layer_norm_epsilon,
                                 static_cast<int64_t>(gradient));
    });
}
