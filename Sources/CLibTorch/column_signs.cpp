// Signs of a OneBit layer that fit what its inputs are, chosen column by column.
//
// A layer Ŵ = h gᵀ ⊙ S is to give, on its inputs X [tokens, in], the outputs Y [tokens, out], and to stay near W⁰ where
// the inputs say nothing. With A = XᵀX + λ I [in, in] and C = YᵀX + λ W⁰ [out, in], that is to make
//
//     ‖X Ŵᵀ − Y‖² + λ ‖Ŵ − W⁰‖²  =  tr(Ŵ A Ŵᵀ) − 2 tr(Ŵ Cᵀ) + const  =  ‖(Ŵ − W) V‖² + const
//
// small, W = C A⁻¹ being the dense optimum and A = V Vᵀ, V upper triangular. Each row of Ŵ is a problem of its own.
//
// First pass, columns j = 0, 1, …: column j of (Ŵ − W) V is (ŵ_j − w_j) V_jj + Σ_{k<j} (ŵ_k − w_k) V_kj, so what is best for
// column j, once those before it are chosen and as long as those behind it are free, is
//
//     t_j = w_j − Σ_{k<j} (ŵ_k − w_k) V_kj / V_jj,     ŵ_j = h g_j sign(t_j)
//
// (the error of each column moved on to those that follow: OBQ and GPTQ, Frantar et al. 2022, who get the same from the
// Cholesky factor of A⁻¹; Babai's nearest plane).
//
// Further sweeps are coordinate descent: with all other columns as they are, what is best for column j is
//
//     t_j = ŵ_j + (C − Ŵ A)_j / A_jj,     ŵ_j ← h g_j sign(t_j).
//
// Both are recurrences t_k ← t_k − (change of ŵ_j) u_jk for k > j. Columns are taken in blocks: what comes from other blocks
// is a product of matrices, what comes from the own block runs along a row in the cache.
//
// The result is T = (t_j), whose signs are S and whose magnitudes say how certain they are.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "handle.h"
#include "parallel.h"
#include "products.h"

using onebit::guarded_tensor;

namespace {

constexpr int64_t block_columns = 128;
/// Rows of one step of a product with a whole matrix.
constexpr int64_t step_rows = 1024;

at::Tensor signs(const at::Tensor &targets) {
    return at::where(targets.ge(0), 1.0, -1.0).to(targets.scalar_type());  // sign(0) = +1
}

/// Runs the recurrence along a block of columns.
///
/// `targets` [rows, width] holds t as the other blocks leave it, and becomes t; `values` [rows, width] holds what changes are
/// counted from, and becomes ŵ; `links` [width, width] is u, of which the part above the diagonal is read.
void choose_block(at::Tensor &targets, at::Tensor &values, const at::Tensor &links, const at::Tensor &input_scale,
                  const at::Tensor &output_scale) {
    int64_t width = targets.size(1);
    auto *t = static_cast<float *>(targets.mutable_data_ptr()), *w = static_cast<float *>(values.mutable_data_ptr());
    auto *u = static_cast<const float *>(links.const_data_ptr()),
         *g = static_cast<const float *>(input_scale.const_data_ptr()),
         *h = static_cast<const float *>(output_scale.const_data_ptr());
    onebit::parallel_for(0, targets.size(0), 16, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            float *target = t + row * width, *value = w + row * width;
            for (int64_t j = 0; j < width; ++j) {
                float size = h[row] * g[j], chosen = target[j] >= 0 ? size : -size, change = chosen - value[j];
                value[j] = chosen;
                if (change == 0) continue;
                const float *link = u + j * width;
                for (int64_t k = j + 1; k < width; ++k) target[k] -= change * link[k];
            }
        }
    });
}

}  // namespace

lt_tensor *lt_compensated_targets(const lt_tensor *weight, const lt_tensor *factor, const lt_tensor *input_scale,
                                  const lt_tensor *output_scale) {
    return guarded_tensor([&] {
        c10::NoGradGuard unrecorded;
        const at::Tensor &w = weight->value, &v = factor->value;
        at::Tensor g = input_scale->value.contiguous(), h = output_scale->value.contiguous();
        at::Tensor result = at::empty_like(w), changes = at::zeros_like(w);  // Ŵ − W of the columns chosen so far
        int64_t columns = w.size(1);
        for (int64_t first = 0; first < columns; first += block_columns) {
            onebit::throw_if_stopped();
            int64_t count = std::min(block_columns, columns - first);
            at::Tensor corner = v.narrow(0, first, count).narrow(1, first, count), diagonal = corner.diagonal();
            at::Tensor values = w.narrow(1, first, count).contiguous(), targets = values.clone();
            if (first > 0) {
                targets.sub_(onebit::product(changes.narrow(1, 0, first), v.narrow(0, 0, first).narrow(1, first, count))
                                 .div_(diagonal));
            }
            choose_block(targets, values, corner.div(diagonal).contiguous(), g.narrow(0, first, count), h);
            result.narrow(1, first, count).copy_(targets);
            changes.narrow(1, first, count).copy_(values.sub_(w.narrow(1, first, count)));
        }
        return result;
    });
}

lt_tensor *lt_descended_targets(const lt_tensor *targets, const lt_tensor *gram, const lt_tensor *cross,
                                const lt_tensor *input_scale, const lt_tensor *output_scale) {
    return guarded_tensor([&] {
        c10::NoGradGuard unrecorded;
        const at::Tensor &a = gram->value, &c = cross->value;
        at::Tensor g = input_scale->value.contiguous(), h = output_scale->value.contiguous();
        at::Tensor values = signs(targets->value).mul_(g).mul_(h.unsqueeze(1));
        at::Tensor result = at::empty_like(values);
        int64_t columns = values.size(1);
        for (int64_t first = 0; first < columns; first += block_columns) {
            onebit::throw_if_stopped();
            int64_t count = std::min(block_columns, columns - first);
            at::Tensor corner = a.narrow(0, first, count).narrow(1, first, count), diagonal = corner.diagonal();
            at::Tensor block = values.narrow(1, first, count).contiguous();
            at::Tensor found = c.narrow(1, first, count) - onebit::product(values, a.narrow(1, first, count));
            found.div_(diagonal).add_(block);
            choose_block(found, block, corner.div(diagonal).contiguous(), g.narrow(0, first, count), h);
            result.narrow(1, first, count).copy_(found);
            values.narrow(1, first, count).copy_(block);
        }
        return result;
    });
}

lt_tensor *lt_fitted_output_scale(const lt_tensor *targets, const lt_tensor *gram, const lt_tensor *cross,
                                  const lt_tensor *input_scale) {
    return guarded_tensor([&] {
        c10::NoGradGuard unrecorded;
        // Row by row, with q = g ⊙ s:  h = argmin h² q A qᵀ − 2 h q cᵀ = q cᵀ / q A qᵀ, or 0 where that is negative. Beside
        // h, h · q cᵀ is returned: by how much the row's squared error is less than that of no output at all.
        int64_t rows = targets->value.size(0);
        at::Tensor result = at::empty({2, rows}, targets->value.options());
        for (int64_t first = 0; first < rows; first += step_rows) {
            onebit::throw_if_stopped();
            int64_t count = std::min(step_rows, rows - first);
            at::Tensor q = signs(targets->value.narrow(0, first, count)).mul_(input_scale->value);
            at::Tensor fit = q.mul(cross->value.narrow(0, first, count)).sum(1);
            at::Tensor size = onebit::product(q, gram->value).mul_(q).sum(1);
            at::Tensor scale = at::where(size.gt(0), fit / size, at::zeros_like(fit)).clamp_min_(0);
            result[0].narrow(0, first, count).copy_(scale);
            result[1].narrow(0, first, count).copy_(scale.mul(fit));
        }
        return result;
    });
}
