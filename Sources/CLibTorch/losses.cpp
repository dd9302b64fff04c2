// The parts of the distillation loss. Each computes its gradient in the forward pass, where everything for it is at
// hand, and saves that alone.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "handle.h"

using onebit::guarded_tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

/// KL(p_t ‖ p_s) = Σ_v p_t (log p_t − log p_s), summed over rows; gradient by the student's logits: p_s − p_t.
///
/// Rows go in blocks, so that besides the gradient only a few small blocks exist, and everything is reduced in
/// float32: summed in half precision the loss overflows above 8 nats per token at the paper's 4 × 2,048 tokens.
struct KLDivergence : torch::autograd::Function<KLDivergence> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &teacher, const at::Tensor &student) {
        int64_t vocabulary = student.size(-1);
        at::Tensor t = teacher.reshape({-1, vocabulary}), s = student.reshape({-1, vocabulary});
        at::Tensor gradient = at::empty_like(s);
        at::Tensor total = at::zeros({}, s.options().dtype(at::kFloat));
        int64_t block = std::max<int64_t>(1, (1 << 20) / vocabulary);
        for (int64_t row = 0; row < s.size(0); row += block) {
            onebit::throw_if_stopped();
            int64_t count = std::min(block, s.size(0) - row);
            at::Tensor log_t = at::log_softmax(t.narrow(0, row, count), -1, at::kFloat);
            at::Tensor log_s = at::log_softmax(s.narrow(0, row, count), -1, at::kFloat);
            at::Tensor p_t = at::exp(log_t);
            total.add_((log_t.sub_(log_s)).mul_(p_t).sum());
            gradient.narrow(0, row, count).copy_(log_s.exp_().sub_(p_t));
        }
        context->save_for_backward({gradient.view(student.sizes())});
        return total;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        return {at::Tensor(), context->get_saved_variables()[0] * upstream[0]};
    }
};

/// mean over N rows of ‖t̂ − ŝ‖², t̂ = t/‖t‖, ŝ = s/‖s‖; gradient by s: (2/N) (ŝ (t̂·ŝ) − t̂) / ‖s‖.
struct DirectionLoss : torch::autograd::Function<DirectionLoss> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &teacher, const at::Tensor &student) {
        constexpr double tiny = 1e-12;  // keeps an all-zero state finite
        at::Tensor norm = at::linalg_vector_norm(student, 2, {-1}, true).clamp_min_(tiny);
        at::Tensor s = student / norm;
        at::Tensor t = teacher / at::linalg_vector_norm(teacher, 2, {-1}, true).clamp_min_(tiny);
        double rows = static_cast<double>(student.numel() / student.size(-1));
        at::Tensor loss = (t - s).square_().sum().div_(rows);
        at::Tensor gradient = (s * (t * s).sum(-1, true)).sub_(t).div_(norm).mul_(2 / rows);
        context->save_for_backward({gradient});
        return loss;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        return {at::Tensor(), context->get_saved_variables()[0] * upstream[0]};
    }
};

}  // namespace

lt_tensor *lt_kl_divergence(const lt_tensor *teacher, const lt_tensor *student) {
    return guarded_tensor([&] { return KLDivergence::apply(teacher->value, student->value); });
}

lt_tensor *lt_direction_loss(const lt_tensor *teacher, const lt_tensor *student) {
    return guarded_tensor([&] { return DirectionLoss::apply(teacher->value, student->value); });
}

lt_tensor *lt_cross_entropy(const lt_tensor *logits, const lt_tensor *targets) {
    return guarded_tensor([&] {
        return at::cross_entropy_loss(logits->value.reshape({-1, logits->value.size(-1)}), targets->value.reshape({-1}));
    });
}
