#include "products.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>

#include "parallel.h"
#include "row_kernels.h"

namespace {

/// libtorch sends float32 products to MKL, which leaves a CPU that is not Intel's at AVX2; oneDNN, which it has for other
/// types, does not (Zen 5: 125 against 56 G multiplications a second and thread). This is its product for plain tensors.
std::optional<c10::OperatorHandle> find_onednn_product() {
    return c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
}

/// The matrix with nothing between its rows or columns: of other views oneDNN knows only its reference loop, a hundred times
/// as slow.
at::Tensor plain(const at::Tensor &matrix) {
    return matrix.is_contiguous() || matrix.t().is_contiguous() ? matrix : matrix.contiguous();
}

}  // namespace

at::Tensor onebit::product_transposed(const at::Tensor &a, const at::Tensor &b) {
    // A CPU multiplies 16-bit floats of this type one by one.
    if (a.is_cpu() && a.scalar_type() == at::kHalf) {
        return product_transposed(a.to(at::kFloat), b.to(at::kFloat)).to(at::kHalf);
    }
    static const std::optional<c10::OperatorHandle> onednn = find_onednn_product();
    // A few rows are the reading of a matrix, which oneDNN would copy first.
    constexpr int64_t few_rows = 32;
    if (!onednn || !a.is_cpu() || a.scalar_type() != at::kFloat || a.size(0) < few_rows) return at::mm(a, b.t());
    c10::List<std::optional<at::Scalar>> scalars;
    torch::jit::Stack stack{plain(a), plain(b), c10::IValue(), "none", scalars, ""};
    onednn->callBoxed(&stack);
    return stack[0].toTensor();
}

at::Tensor onebit::product(const at::Tensor &a, const at::Tensor &b) { return product_transposed(a, b.t()); }

void onebit::add_transposed_product(const at::Tensor &sum, const at::Tensor &a, const at::Tensor &b) {
    if (!a.is_cpu() || a.scalar_type() != at::kFloat || b.scalar_type() != at::kFloat) {
        sum.add_(product(a.t(), b));
        return;
    }
    at::Tensor left = plain_floats(a), right = plain_floats(b);
    int64_t depth = left.size(0), rows = left.size(1), columns = right.size(1);
    constexpr int64_t rows_at_a_time = 96;  // whole tiles of every version
    parallel_for(0, (rows + rows_at_a_time - 1) / rows_at_a_time, 1, [&](int64_t begin, int64_t end) {
        int64_t first = begin * rows_at_a_time, count = std::min(end * rows_at_a_time, rows) - first;
        kernels().add_transposed_product(read(left) + first, rows, read(right), columns, depth, count, columns,
                                         write(sum) + first * columns, columns);
    });
}
