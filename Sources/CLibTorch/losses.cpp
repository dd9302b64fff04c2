// The parts of the distillation loss. Each comes with its gradient, for the block schedule to go backward from; sums are
// in float32 whatever the type of the states.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "handle.h"
#include "products.h"

using onebit::guarded_effect;

namespace {

/// What the loss of some rows of logits adds up to.
struct HeadSums {
    at::Tensor divergence, cross_entropy;
};

/// Replaces the student's logits s of some rows by the loss's gradient:
///   a KL(p_t ‖ p_s) − b log p_s[target]        gradient by s:  a (p_s − p_t) + b (p_s − onehot(target))
/// with a = settings.divergence_weight and b = settings.cross_entropy_weight; rows without a target (−1) have no second
/// term. `teacher` is undefined where there is no first.
at::Tensor loss_gradient(const at::Tensor &student, const at::Tensor &teacher, const at::Tensor &targets,
                         lt_head_loss_settings settings, HeadSums &sums) {
    at::Tensor log_s = at::log_softmax(student, -1, at::kFloat);
    at::Tensor gradient;
    if (teacher.defined()) {
        at::Tensor log_t = at::log_softmax(teacher, -1, at::kFloat);
        at::Tensor p_t = at::exp(log_t);
        sums.divergence.add_(log_t.sub_(log_s).mul_(p_t).sum());
        gradient = p_t.mul_(-settings.divergence_weight);
    }
    double weight_s = teacher.defined() ? settings.divergence_weight : 0;
    if (targets.defined()) {
        at::Tensor is_target = targets.ge(0), column = targets.clamp_min(0).unsqueeze(-1);
        at::Tensor log_p = log_s.gather(-1, column).squeeze(-1);
        sums.cross_entropy.sub_(log_p.mul(is_target).sum());
        at::Tensor p_s = log_s.exp_();
        at::Tensor row_weight = is_target.to(at::kFloat).mul_(settings.cross_entropy_weight);
        at::Tensor by_s = p_s.mul_(row_weight.add(weight_s).unsqueeze(-1));
        by_s.scatter_add_(-1, column, row_weight.neg().unsqueeze(-1));
        return gradient.defined() ? gradient.add_(by_s) : by_s;
    }
    return gradient.add_(log_s.exp_(), weight_s);
}

}  // namespace

int lt_head_loss(const lt_tensor *input, const lt_tensor *head, const lt_tensor *teacher_input,
                 const lt_tensor *teacher_head, const lt_tensor *targets, lt_head_loss_settings settings,
                 lt_tensor *result[3]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor states = input->value.detach();
        at::ScalarType type = states.scalar_type();
        at::Tensor weight = head->value.detach().to(type);
        at::Tensor teacher_states, teacher_weight;
        if (teacher_input) {
            teacher_states = teacher_input->value;
            teacher_weight = teacher_head->value.to(teacher_states.scalar_type());
        }
        int64_t rows = states.size(0);
        HeadSums sums = {at::zeros({}, states.options().dtype(at::kFloat)),
                         at::zeros({}, states.options().dtype(at::kFloat))};
        at::Tensor input_gradient = at::empty_like(states);
        at::Tensor head_gradient;
        for (int64_t row = 0; row < rows; row += settings.rows_at_a_time) {
            onebit::throw_if_stopped();
            int64_t count = std::min(settings.rows_at_a_time, rows - row);
            at::Tensor part = states.narrow(0, row, count);
            at::Tensor student = onebit::product_transposed(part, weight), teacher;
            if (teacher_input) {
                teacher = onebit::product_transposed(teacher_states.narrow(0, row, count), teacher_weight);
            }
            // On a CPU so few rows at a time that what lies between stays in the cache.
            int64_t few = states.is_cpu() ? std::max<int64_t>(1, (1 << 20) / student.size(1)) : count;
            at::Tensor gradient = student;
            for (int64_t first = 0; first < count; first += few) {
                int64_t some = std::min(few, count - first);
                gradient.narrow(0, first, some)
                    .copy_(loss_gradient(
                        student.narrow(0, first, some), teacher.defined() ? teacher.narrow(0, first, some) : teacher,
                        targets ? targets->value.narrow(0, row + first, some) : at::Tensor(), settings, sums));
            }
            input_gradient.narrow(0, row, count).copy_(onebit::product(gradient, weight));
            if (settings.wants_head_gradient) {
                at::Tensor added = onebit::product(gradient.t(), part);
                if (head_gradient.defined()) {
                    head_gradient.add_(added);
                } else {
                    head_gradient = added.to(at::kFloat);
                }
            }
        }
        result[0] = new lt_tensor{at::stack({sums.divergence, sums.cross_entropy})};
        result[1] = new lt_tensor{input_gradient};
        result[2] = head_gradient.defined() ? new lt_tensor{head_gradient} : nullptr;
    });
}

/// Mean over N rows of ‖t̂ − ŝ‖², t̂ = t/‖t‖, ŝ = s/‖s‖; gradient by s: (2/N) (ŝ (t̂·ŝ) − t̂) / ‖s‖.
int lt_direction_loss(const lt_tensor *teacher, const lt_tensor *student, double weight, lt_tensor *result[2]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        constexpr double tiny = 1e-12;  // keeps an all-zero state finite
        at::Tensor wide = student->value.detach().to(at::kFloat), target = teacher->value.detach().to(at::kFloat);
        at::Tensor norm = at::linalg_vector_norm(wide, 2, {-1}, true).clamp_min_(tiny);
        at::Tensor s = wide / norm;
        at::Tensor t = target / at::linalg_vector_norm(target, 2, {-1}, true).clamp_min_(tiny);
        double rows = static_cast<double>(wide.numel() / wide.size(-1));
        result[0] = new lt_tensor{(t - s).square_().sum().div_(rows)};
        at::Tensor gradient = (s * (t * s).sum(-1, true)).sub_(t).div_(norm).mul_(2 * weight / rows);
        result[1] = new lt_tensor{gradient.to(student->value.scalar_type())};
    });
}
