// Sums of products over many rows, and symmetric positive definite systems, float32. Whatever takes long is made of steps
// of less than a second, and asks the stop test between them.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "handle.h"
#include "products.h"

using onebit::guarded_effect;
using onebit::guarded_tensor;

namespace {

/// Columns of one step of a factorization or of a sum of products.
constexpr int64_t panel = 256;
/// Multiplications of one step of a solution: some tenths of a second of one core.
constexpr double step_products = 1e10;

at::Tensor rows_of(const at::Tensor &x) { return x.reshape({-1, x.size(-1)}); }

/// sum += aᵀ b, columns of `a` at a time.
void add_product(at::Tensor sum, const at::Tensor &a, const at::Tensor &b) {
    int64_t columns = a.size(1);
    double products = static_cast<double>(a.size(0)) * static_cast<double>(b.size(1));
    int64_t width = std::max<int64_t>(panel, static_cast<int64_t>(step_products / std::max(1.0, products)));
    for (int64_t first = 0; first < columns; first += width) {
        onebit::throw_if_stopped();
        int64_t count = std::min(width, columns - first);
        sum.narrow(0, first, count).add_(onebit::product(a.narrow(1, first, count).t(), b));
    }
}

}  // namespace

int lt_square_sum(const lt_tensor *tensor, double *sum) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        double norm = at::linalg_vector_norm(tensor->value.to(at::kFloat)).item().toDouble();
        *sum = norm * norm;
    });
}

int lt_add_product(lt_tensor *sum, const lt_tensor *a, const lt_tensor *b) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        add_product(sum->value, rows_of(a->value), rows_of(b->value));
    });
}

int lt_add_gram(lt_tensor *gram, const lt_tensor *x) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor rows = rows_of(x->value);
        int64_t size = rows.size(1), width = std::max(panel, size / 8);
        for (int64_t first = 0; first < size; first += width) {
            // The rows of the triangle from the diagonal to the left.
            int64_t count = std::min(width, size - first);
            add_product(gram->value.narrow(0, first, count).narrow(1, 0, first + count), rows.narrow(1, first, count),
                        rows.narrow(1, 0, first + count));
        }
    });
}

int lt_damped(const lt_tensor *lower, double damping, lt_tensor **result, double *added) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor matrix = lower->value.tril();
        double mean = matrix.diagonal().mean(at::kDouble).item().toDouble();
        *added = mean == 0 ? 1 : damping * mean;
        matrix.add_(lower->value.tril(-1).t());
        matrix.diagonal().add_(*added);
        *result = new lt_tensor{matrix};
    });
}

int lt_upper_factor(const lt_tensor *matrix, lt_tensor **factor) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        *factor = nullptr;
        // Columns from the last to the first. Of A = V Vᵀ with V upper triangular, the columns K of a panel say
        //   V[:, K] V[K, K]ᵀ = A[:, K] − V[:, behind K] V[K, behind K]ᵀ  =: B,
        // whose rows K are V[K, K] V[K, K]ᵀ, and whose rows above give V[above K, K] by a triangular solution.
        at::Tensor v = at::zeros_like(matrix->value);
        int64_t size = v.size(0);
        for (int64_t end = size; end > 0; end -= std::min(panel, end)) {
            onebit::throw_if_stopped();
            int64_t first = std::max<int64_t>(0, end - panel), count = end - first;
            at::Tensor b = matrix->value.narrow(0, 0, end).narrow(1, first, count).clone();
            if (end < size) {
                at::Tensor behind = v.narrow(1, end, size - end);
                b.sub_(onebit::product_transposed(behind.narrow(0, 0, end), behind.narrow(0, first, count)));
            }
            // Cholesky's factor is lower triangular: that of the reversed block, reversed, is upper triangular.
            auto [lower, failed] = at::linalg_cholesky_ex(b.narrow(0, first, count).flip({0, 1}));
            if (failed.item().toInt() != 0) return;
            at::Tensor corner = lower.flip({0, 1});
            v.narrow(0, first, count).narrow(1, first, count).copy_(corner);
            if (first > 0) {
                at::Tensor above = at::linalg_solve_triangular(corner.t(), b.narrow(0, 0, first), /*upper=*/false,
                                                               /*left=*/false);
                v.narrow(0, 0, first).narrow(1, first, count).copy_(above);
            }
        }
        *factor = new lt_tensor{v};
    });
}

lt_tensor *lt_solve_rows(const lt_tensor *rows, const lt_tensor *factor) {
    return guarded_tensor([&] {
        c10::NoGradGuard unrecorded;
        const at::Tensor &v = factor->value;
        double products = static_cast<double>(v.size(0)) * static_cast<double>(v.size(0));
        int64_t height = std::max<int64_t>(16, static_cast<int64_t>(step_products / products));
        at::Tensor result = at::empty_like(rows->value);
        for (int64_t first = 0; first < result.size(0); first += height) {
            onebit::throw_if_stopped();
            int64_t count = std::min(height, result.size(0) - first);
            // X V Vᵀ = B: first Z Vᵀ = B, then X V = Z.
            at::Tensor z = at::linalg_solve_triangular(v.t(), rows->value.narrow(0, first, count), /*upper=*/false,
                                                       /*left=*/false);
            result.narrow(0, first, count).copy_(at::linalg_solve_triangular(v, z, /*upper=*/true, /*left=*/false));
        }
        return result;
    });
}
