// Gradients and the optimizer's step.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

#include "handle.h"

using onebit::guarded_effect;
using onebit::guarded_tensor;

namespace {

std::vector<at::Tensor> values(lt_tensor *const *tensors, int count) {
    std::vector<at::Tensor> result;
    result.reserve(count);
    for (int i = 0; i < count; ++i) result.push_back(tensors[i]->value);
    return result;
}

}  // namespace

lt_tensor *lt_requiring_gradient(const lt_tensor *tensor) {
    return guarded_tensor([&] { return tensor->value.detach().set_requires_grad(true); });
}

int lt_gradients(lt_tensor *const *outputs, lt_tensor *const *upstreams, int output_count, lt_tensor *const *leaves,
                 int count, lt_tensor **gradients) {
    return guarded_effect([&] {
        std::vector<at::Tensor> above;
        for (int i = 0; i < output_count; ++i) above.push_back(upstreams[i] ? upstreams[i]->value : at::Tensor());
        std::vector<at::Tensor> found = torch::autograd::grad(values(outputs, output_count), values(leaves, count), above,
                                                              std::nullopt,
                                                              /*create_graph=*/false, /*allow_unused=*/true);
        for (int i = 0; i < count; ++i) gradients[i] = found[i].defined() ? new lt_tensor{found[i]} : nullptr;
    });
}

int lt_joint_norm(lt_tensor *const *tensors, int count, double *norm) {
    return guarded_effect([&] {
        *norm = 0;
        if (count == 0) return;
        c10::NoGradGuard unrecorded;
        *norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(values(tensors, count), 2))).item().toDouble();
    });
}

int lt_adamw(lt_tensor *value, lt_tensor *gradient, lt_tensor *first_moment, lt_tensor *second_moment,
             lt_adamw_settings settings) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::TensorOptions scalar = value->value.options();
        at::Tensor step = at::scalar_tensor(static_cast<double>(settings.step), scalar);
        // The kernel divides by `grad_scale`.
        std::optional<at::Tensor> divisor;
        if (settings.gradient_factor != 1) divisor = at::scalar_tensor(1 / settings.gradient_factor, scalar);
        at::_fused_adamw_({value->value}, {gradient->value}, {first_moment->value}, {second_moment->value}, {}, {step},
                          settings.learning_rate, settings.beta1, settings.beta2, settings.weight_decay,
                          settings.epsilon, /*amsgrad=*/false, /*maximize=*/false, divisor);
    });
}

int lt_latent_gradient(lt_tensor *product, const lt_tensor *latent, const lt_tensor *input_scale,
                       const lt_tensor *output_scale, lt_sign_gradient slope) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor gradient = product->value;
        TORCH_CHECK(gradient.sizes() == latent->value.sizes(), "P of shape ", gradient.sizes(), " for a matrix of ",
                    latent->value.sizes());
        // Rows at a time, so that what lies between stays in the cache.
        int64_t count = std::max<int64_t>(1, (1 << 18) / gradient.size(1));
        for (int64_t row = 0; row < gradient.size(0); row += count) {
            int64_t rows = std::min(count, gradient.size(0) - row);
            at::Tensor part = gradient.narrow(0, row, rows), w = latent->value.narrow(0, row, rows);
            part.mul_(input_scale->value).mul_(output_scale->value.narrow(0, row, rows).unsqueeze(-1));
            if (slope == LT_SIGN_TANH) {
                part.mul_(at::tanh(w).square_().neg_().add_(1.001));
            } else {
                part.masked_fill_(w.abs().ge(1), 0);
            }
        }
    });
}
