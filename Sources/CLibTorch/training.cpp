// Backward pass, gradient clipping and the optimiser's step.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <vector>

#include "handle.h"

using onebit::guarded;
using onebit::guarded_effect;
using onebit::guarded_tensor;

int lt_set_requires_gradient(lt_tensor *tensor, bool required) {
    return guarded_effect([&] { tensor->value.set_requires_grad(required); });
}

int lt_backward(const lt_tensor *loss) {
    return guarded_effect([&] { loss->value.backward(); });
}

lt_tensor *lt_gradient(const lt_tensor *tensor) {
    const at::Tensor &gradient = tensor->value.grad();
    if (!gradient.defined()) return nullptr;
    return guarded_tensor([&] { return gradient; });
}

void lt_clear_gradient(lt_tensor *tensor) { tensor->value.mutable_grad().reset(); }

int lt_move_gradient(lt_tensor *source, lt_tensor *target) {
    return guarded_effect([&] {
        at::Tensor &from = source->value.mutable_grad(), &to = target->value.mutable_grad();
        if (!from.defined()) return;
        if (to.defined()) {
            to.add_(from);
        } else {
            to = from;
        }
        from.reset();
    });
}

int lt_clip_gradients(lt_tensor *const *parameters, int count, double maximum, double *norm) {
    return guarded_effect([&] {
        std::vector<at::Tensor> gradients;
        for (int i = 0; i < count; ++i) {
            if (parameters[i]->value.grad().defined()) gradients.push_back(parameters[i]->value.grad());
        }
        *norm = 0;
        if (gradients.empty()) return;
        *norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients, 2))).item().toDouble();
        if (std::isfinite(*norm) && *norm > maximum) at::_foreach_mul_(gradients, maximum / *norm);
    });
}

int lt_adamw(lt_tensor *const *parameters, lt_tensor *const *first_moments, lt_tensor *const *second_moments, int count,
             int64_t step, double learning_rate, double beta1, double beta2, double epsilon, double weight_decay) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        std::vector<at::Tensor> values, gradients, first, second, steps;
        at::Tensor step_count = at::scalar_tensor(static_cast<double>(step), at::TensorOptions().dtype(at::kFloat));
        for (int i = 0; i < count; ++i) {
            if (!parameters[i]->value.grad().defined()) continue;
            values.push_back(parameters[i]->value);
            gradients.push_back(parameters[i]->value.grad());
            first.push_back(first_moments[i]->value);
            second.push_back(second_moments[i]->value);
            steps.push_back(step_count);
        }
        if (values.empty()) return;
        at::_fused_adamw_(values, gradients, first, second, {}, steps, learning_rate, beta1, beta2, weight_decay, epsilon,
                          /*amsgrad=*/false, /*maximize=*/false);
    });
}
