// Gradients and the optimizer's step. Nothing is written in place: what changes is returned as new tensors.

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

int lt_gradients(const lt_tensor *loss, lt_tensor *const *leaves, int count, lt_tensor **gradients) {
    return guarded_effect([&] {
        std::vector<at::Tensor> found = torch::autograd::grad({loss->value}, values(leaves, count), {}, std::nullopt,
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

int lt_adamw(const lt_tensor *value, const lt_tensor *gradient, const lt_tensor *first_moment,
             const lt_tensor *second_moment, lt_adamw_settings settings, lt_tensor *result[3]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor w = value->value.detach().clone(), m = first_moment->value.clone(), v = second_moment->value.clone();
        at::Tensor d = settings.gradient_factor == 1 ? gradient->value : gradient->value * settings.gradient_factor;
        at::Tensor step = at::scalar_tensor(static_cast<double>(settings.step), w.options().dtype(at::kFloat));
        at::_fused_adamw_({w}, {d}, {m}, {v}, {}, {step}, settings.learning_rate, settings.beta1, settings.beta2,
                          settings.weight_decay, settings.epsilon, /*amsgrad=*/false, /*maximize=*/false);
        const at::Tensor updated[3] = {w, m, v};
        for (int i = 0; i < 3; ++i) result[i] = new lt_tensor{updated[i]};
    });
}
