// The parts of the distillation loss. Each comes with its gradient, for the block schedule to go backward from; sums are
// in float32 whatever the type of the states.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "device_kernels.h"
#include "handle.h"
#include "parallel.h"
#include "products.h"
#include "row_kernels.h"

using onebit::guarded_effect;

namespace {

/// What the loss of some rows of logits adds up to.
struct HeadSums {
    at::Tensor divergence, cross_entropy;
};

/// The loss's gradient by the student's logits s of some rows:
///   a KL(p_t ‖ p_s) − b log p_s[target]        gradient by s:  a (p_s − p_t) + b (p_s − onehot(target))
/// with a = settings.divergence_weight and b = settings.cross_entropy_weight; rows without a target (−1) have no second
/// term. `teacher` is undefined where there is no first.
at::Tensor loss_gradient(const at::Tensor &student, const at::Tensor &teacher, const at::Tensor &targets,
                         lt_head_loss_settings settings, HeadSums &sums) {
    if (onebit::device_kernels::know({student, teacher.defined() ? teacher : student})) {
        auto loss = onebit::device_kernels::logit_loss(student, teacher, targets, settings);
        sums.divergence.add_(loss.divergences.sum());
        sums.cross_entropy.add_(loss.cross_entropies.sum());
        return loss.gradient;
    }
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

/// The same of CPU tensors.
at::Tensor by_rows(const at::Tensor &student, const at::Tensor &teacher, const at::Tensor &targets,
                   lt_head_loss_settings settings, HeadSums &sums) {
    at::Tensor s = onebit::plain_floats(student), t, tokens;
    if (teacher.defined()) t = onebit::plain_floats(teacher);
    if (targets.defined()) tokens = targets.contiguous();
    int64_t rows = s.size(0), vocabulary = s.size(1);
    std::vector<sign_kernels_loss> losses(rows);
    onebit::parallel_for(0, rows, 1 + (1 << 14) / vocabulary, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            int64_t target = tokens.defined() ? static_cast<const int64_t *>(tokens.const_data_ptr())[row] : -1;
            losses[row] = onebit::kernels().logit_loss(
                onebit::write(s) + row * vocabulary, t.defined() ? onebit::write(t) + row * vocabulary : nullptr,
                vocabulary, static_cast<float>(settings.divergence_weight), target,
                static_cast<float>(settings.cross_entropy_weight));
        }
    });
    sign_kernels_loss total = {0, 0};
    for (const sign_kernels_loss &loss : losses) {
        total.divergence += loss.divergence;
        total.cross_entropy += loss.cross_entropy;
    }
    sums.divergence.add_(total.divergence);
    sums.cross_entropy.add_(total.cross_entropy);
    return s.to(student.scalar_type());
}

}  // namespace

int lt_head_loss(const lt_tensor *input, const lt_tensor *head, const lt_tensor *teacher_input,
                 const lt_tensor *teacher_head, const lt_tensor *targets, lt_head_loss_settings settings,
                 lt_tensor *head_gradient, lt_tensor *result[2]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
#ifdef __GLIBC__
        // The largest matrices of a pass come now. What malloc keeps of the blocks' activations does not fit them and would
        // stay beside them: 0.5 GB of 3.4 where SmolLM2-135M is distilled.
        malloc_trim(0);
#endif
        at::Tensor states = input->value.detach();
        at::ScalarType type = states.scalar_type();
        at::Tensor weight = head->value.detach().to(type);
        at::Tensor teacher_states, teacher_weight;
        if (teacher_input) {
            teacher_states = teacher_input->value;
            teacher_weight = teacher_head->value.to(teacher_states.scalar_type());
        }
        int64_t rows = states.size(0);
        if (head_gradient) {
            TORCH_CHECK(head_gradient->value.sizes() == weight.sizes() && head_gradient->value.is_contiguous() &&
                            head_gradient->value.scalar_type() == at::kFloat,
                        "a sum of shape ", head_gradient->value.sizes(), " for the gradient of a head ", weight.sizes());
        }
        HeadSums sums = {at::zeros({}, states.options().dtype(at::kFloat)),
                         at::zeros({}, states.options().dtype(at::kFloat))};
        at::Tensor input_gradient = at::empty_like(states);
        for (int64_t row = 0; row < rows; row += settings.rows_at_a_time) {
            onebit::throw_if_stopped();
            int64_t count = std::min(settings.rows_at_a_time, rows - row);
            at::Tensor part = states.narrow(0, row, count);
            at::Tensor student = onebit::product_transposed(part, weight), teacher;
            if (teacher_input) {
                teacher = onebit::product_transposed(teacher_states.narrow(0, row, count), teacher_weight);
            }
            // Capped logits, and the cap's slope 1 − tanh².
            at::Tensor slope;
            if (double cap = settings.soft_cap; cap != 0) {
                student = student.to(at::kFloat).div_(cap).tanh_();
                slope = student.square().neg_().add_(1);
                student.mul_(cap);
                if (teacher.defined()) teacher = teacher.to(at::kFloat).div_(cap).tanh_().mul_(cap);
            }
            at::Tensor own_targets = targets ? targets->value.narrow(0, row, count) : at::Tensor();
            at::Tensor gradient = student.is_cpu() ? by_rows(student, teacher, own_targets, settings, sums)
                                                   : loss_gradient(student, teacher, own_targets, settings, sums);
            if (slope.defined()) gradient = gradient.mul_(slope);
            gradient = gradient.to(type);
            input_gradient.narrow(0, row, count).copy_(onebit::product(gradient, weight));
            if (head_gradient) onebit::add_transposed_product(head_gradient->value, gradient, part);
        }
        result[0] = new lt_tensor{at::stack({sums.divergence, sums.cross_entropy})};
        result[1] = new lt_tensor{input_gradient};
    });
}

/// Mean over N rows of ‖t̂ − ŝ‖², t̂ = t/‖t‖, ŝ = s/‖s‖; gradient by s: (2/N) (ŝ (t̂·ŝ) − t̂) / ‖s‖.
int lt_direction_loss(const lt_tensor *teacher, const lt_tensor *student, double weight, lt_tensor *result[2]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        if (student->value.is_cpu()) {
            int64_t width = student->value.size(-1);
            at::Tensor s = onebit::plain_floats(student->value.reshape({-1, width}));
            at::Tensor t = onebit::plain_floats(teacher->value.reshape({-1, width}));
            at::Tensor gradient = at::empty_like(s);
            int64_t rows = s.size(0);
            std::vector<double> losses(rows);
            onebit::for_blocks(rows, [&](int64_t, int64_t first, int64_t count) {
                for (int64_t row = first; row < first + count; ++row) {
                    losses[row] = onebit::kernels().direction_loss(
                        onebit::read(t) + row * width, onebit::read(s) + row * width, width,
                        static_cast<float>(weight / static_cast<double>(rows)), onebit::write(gradient) + row * width);
                }
            });
            double total = 0;
            for (double loss : losses) total += loss;
            result[0] = new lt_tensor{at::scalar_tensor(total / static_cast<double>(rows), s.options())};
            result[1] = new lt_tensor{gradient.view(student->value.sizes()).to(student->value.scalar_type())};
            return;
        }
        if (onebit::device_kernels::know({student->value, teacher->value})) {
            double rows = static_cast<double>(student->value.numel() / student->value.size(-1));
            auto [losses, gradient] =
                onebit::device_kernels::direction_loss(teacher->value, student->value, 2 * weight / rows);
            result[0] = new lt_tensor{losses.sum().div_(rows)};
            result[1] = new lt_tensor{gradient};
            return;
        }
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

/// With S = q kᵀ / √D, A = softmax(S), or softmax(C) of C = cap tanh(S / cap), and L = (1/N) Σ (A_t − A_s)² over N rows:
///   dA = (2/N) (A_s − A_t),   dS = A_s ⊙ (dA − Σ_j dA ⊙ A_s),   dq = dS k / √D,   dk = dSᵀ q / √D;
/// capped, dS has the factor 1 − (C / cap)² besides. One sequence and head at a time, so that no more than a few [length, length] are there at once.
int lt_attention_map_loss(const lt_tensor *teacher_q, const lt_tensor *teacher_k, const lt_tensor *q, const lt_tensor *k,
                          const lt_tensor *mask, bool causal, double soft_cap, double weight, lt_tensor *result[3]) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor sq = q->value.detach().to(at::kFloat), sk = k->value.detach().to(at::kFloat);
        at::Tensor tq = teacher_q->value.detach().to(at::kFloat), tk = teacher_k->value.detach().to(at::kFloat);
        int64_t batch = sq.size(0), heads = sq.size(1), length = sq.size(2), group = heads / sk.size(1);
        double scale = 1 / std::sqrt(static_cast<double>(sq.size(3)));
        double rows = static_cast<double>(batch * heads * length);
        at::Tensor bias;
        if (mask) {
            bias = mask->value.to(at::kFloat);
        } else if (causal) {
            bias = at::full({length, length}, -std::numeric_limits<double>::infinity(), sq.options()).triu_(1);
        }
        auto map = [&](const at::Tensor &queries, const at::Tensor &keys, int64_t sequence, at::Tensor *slope) {
            at::Tensor scores = at::mm(queries, keys.t()).mul_(scale);
            if (soft_cap != 0) {
                scores.div_(soft_cap).tanh_();
                if (slope) *slope = scores.square().neg_().add_(1);
                scores.mul_(soft_cap);
            }
            if (bias.defined()) scores.add_(bias.dim() == 4 ? bias[bias.size(0) > 1 ? sequence : 0][0] : bias);
            return at::softmax(scores, -1);
        };
        at::Tensor total = at::zeros({}, sq.options()), dq = at::empty_like(sq), dk = at::zeros_like(sk);
        for (int64_t b = 0; b < batch; ++b) {
            for (int64_t h = 0; h < heads; ++h) {
                onebit::throw_if_stopped();
                at::Tensor queries = sq[b][h], keys = sk[b][h / group];
                at::Tensor slope, student = map(queries, keys, b, &slope);
                at::Tensor difference = student - map(tq[b][h], tk[b][h / group], b, nullptr);
                total.add_(difference.square().sum());
                at::Tensor by_map = difference.mul_(2 * weight / rows);
                at::Tensor projection = (by_map * student).sum(-1, true);
                at::Tensor by_scores = by_map.sub_(projection).mul_(student).mul_(scale);
                if (slope.defined()) by_scores.mul_(slope);
                dq[b][h].copy_(at::mm(by_scores, keys));
                dk[b][h / group].add_(at::mm(by_scores.t(), queries));
            }
        }
        result[0] = new lt_tensor{total.div_(rows)};
        result[1] = new lt_tensor{dq.to(q->value.scalar_type())};
        result[2] = new lt_tensor{dk.to(k->value.scalar_type())};
    });
}
