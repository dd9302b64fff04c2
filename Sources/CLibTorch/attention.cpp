// softmax(q kᵀ / √size + mask) v over heads, of scores that may be capped by tanh, where each key/value head may serve several query heads in a row.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "handle.h"
#include "parallel.h"
#include "row_kernels.h"

using onebit::guarded_tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

/// The rows of [batch, heads, length, size] as the kernels read them: any strides but of the last dimension.
at::Tensor with_plain_rows(const at::Tensor &x) {
    at::Tensor floats = x.detach();
    return floats.stride(3) == 1 ? floats : floats.contiguous();
}

sign_kernels_head_rows head_of(const at::Tensor &x, int64_t sequence, int64_t head) {
    return {onebit::read(x) + sequence * x.stride(0) + head * x.stride(1), static_cast<size_t>(x.stride(2))};
}

/// [batch, heads, length, size] that lies in memory as [batch, length, heads, size], as the layers around it do.
at::Tensor heads_like(const at::Tensor &q) {
    return at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
}

float scale_of(const at::Tensor &q) { return 1 / std::sqrt(static_cast<float>(q.size(3))); }

/// Calls `body` for every sequence and query head, with scratch memory.
void for_heads(const at::Tensor &q, size_t scratch_floats,
               c10::function_ref<void(int64_t sequence, int64_t head, float *scratch)> body) {
    int64_t heads = q.size(1), grain = 1 + (1 << 18) / (q.size(2) * q.size(2) * q.size(3));
    onebit::parallel_for(0, q.size(0) * heads, grain, [&](int64_t begin, int64_t end) {
        at::Tensor scratch = at::empty({static_cast<int64_t>(scratch_floats)}, q.options());
        for (int64_t i = begin; i < end; ++i) body(i / heads, i % heads, onebit::write(scratch));
    });
}

/// Causal attention of CPU floats. libtorch's own spends most of its time in MKL, on products of a few rows: a step of
/// SmolLM2-135M's distillation, 4 × 512 tokens on two threads of a Zen 5, has 2.7 s of it where these kernels take 1.0 s.
/// Saved: q, k, v, y, and of each row the logarithm of its sum.
struct CausalAttention : torch::autograd::Function<CausalAttention> {
    static at::Tensor output(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, float cap,
                             at::Tensor &log_sums) {
        onebit::throw_if_stopped();
        at::Tensor queries = with_plain_rows(q), keys = with_plain_rows(k), values = with_plain_rows(v);
        int64_t length = q.size(2), size = q.size(3), group = q.size(1) / k.size(1);
        at::Tensor y = heads_like(q);
        log_sums = at::empty({q.size(0), q.size(1), length}, q.options());
        for_heads(q, sign_kernels_causal_attention_scratch(length, size), [&](int64_t b, int64_t h, float *scratch) {
            onebit::kernels().causal_attention(
                head_of(queries, b, h), head_of(keys, b, h / group), head_of(values, b, h / group), length, size,
                scale_of(q), cap, scratch, onebit::write(y) + b * y.stride(0) + h * y.stride(1), y.stride(2),
                onebit::write(log_sums) + (b * q.size(1) + h) * length);
        });
        return y;
    }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                              double cap) {
        at::Tensor log_sums, y = output(q, k, v, static_cast<float>(cap), log_sums);
        context->save_for_backward({q, k, v, y, log_sums});
        context->saved_data["cap"] = cap;
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        float cap = static_cast<float>(context->saved_data["cap"].toDouble());
        std::array<at::Tensor, 4> rows;
        for (size_t i = 0; i < rows.size(); ++i) rows[i] = with_plain_rows(saved[i]);
        const auto &[q, k, v, y] = rows;
        at::Tensor dy = with_plain_rows(upstream[0]), log_sums = saved[4];
        int64_t length = q.size(2), size = q.size(3), group = q.size(1) / k.size(1);
        // Of each query head; those that share a key/value head are added up.
        at::Tensor dq = heads_like(q), dk = heads_like(q), dv = heads_like(q);
        for_heads(q, sign_kernels_causal_attention_gradient_scratch(length, size),
                  [&](int64_t b, int64_t h, float *scratch) {
                      int64_t place = b * dq.stride(0) + h * dq.stride(1);
                      onebit::kernels().causal_attention_gradient(
                          head_of(q, b, h), head_of(k, b, h / group), head_of(v, b, h / group), head_of(y, b, h),
                          onebit::read(log_sums) + (b * q.size(1) + h) * length, head_of(dy, b, h), length, size,
                          scale_of(q), cap, scratch, onebit::write(dq) + place, onebit::write(dk) + place,
                          onebit::write(dv) + place, dq.stride(2));
                  });
        auto shared = [&](const at::Tensor &x) {
            if (group == 1) return x;
            return x.unflatten(1, {k.size(1), group}).sum(2);
        };
        return {dq, shared(dk), shared(dv), at::Tensor()};
    }
};

/// libtorch's, with keys and values repeated for the query heads that share them. It has none of capped scores: these are
/// there as a whole, in 32 bits.
at::Tensor attention(const at::Tensor &q, at::Tensor k, at::Tensor v, const std::optional<at::Tensor> &mask, bool causal,
                     double cap) {
    if (int64_t group = q.size(1) / k.size(1); group > 1) {
        k = k.repeat_interleave(group, 1);
        v = v.repeat_interleave(group, 1);
    }
    if (cap == 0) return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal);
    at::Tensor scores = at::matmul(q, k.transpose(2, 3)).to(at::kFloat) * scale_of(q);
    scores = at::tanh(scores / cap) * cap;
    if (mask) scores = scores + *mask;
    if (causal) {
        at::Tensor hidden = at::ones({q.size(2), k.size(2)}, q.options().dtype(at::kBool)).triu_(1);
        scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    }
    return at::matmul(at::softmax(scores, -1).to(v.scalar_type()), v);
}

}  // namespace

lt_tensor *lt_attention(const lt_tensor *query, const lt_tensor *key, const lt_tensor *value, const lt_tensor *mask,
                        bool causal, double soft_cap) {
    return guarded_tensor([&] {
        const at::Tensor &q = query->value, &k = key->value, &v = value->value;
        TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && v.sizes() == k.sizes() && k.size(1) > 0 &&
                        q.size(1) % k.size(1) == 0 && q.size(0) == k.size(0) && q.size(3) == k.size(3),
                    "attention of queries ", q.sizes(), ", keys ", k.sizes(), " and values ", v.sizes());
        bool has_kernel = q.is_cpu() && q.scalar_type() == at::kFloat && k.scalar_type() == at::kFloat &&
                          v.scalar_type() == at::kFloat && causal && !mask && q.size(2) == k.size(2) && q.numel() > 0;
        if (!has_kernel) {
            return attention(q, k, v, mask ? std::optional<at::Tensor>(mask->value) : std::nullopt, causal,
                             soft_cap);
        }
        if (c10::GradMode::is_enabled()) return CausalAttention::apply(q, k, v, soft_cap);
        at::Tensor log_sums;
        return CausalAttention::output(q, k, v, static_cast<float>(soft_cap), log_sums);
    });
}
