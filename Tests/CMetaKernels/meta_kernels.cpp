// Operations on the meta device that libtorch has in Python alone: a pass of tests finds them here. Each gives the shape, and
// refuses tensors of other devices.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <array>
#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

namespace {

void require_meta(std::initializer_list<at::Tensor> tensors) {
    for (const at::Tensor &tensor : tensors) {
        TORCH_CHECK(!tensor.defined() || tensor.is_meta(), "a tensor on ", tensor.device(), " among those of meta");
    }
}

at::Tensor index_select(const at::Tensor &x, int64_t dimension, const at::Tensor &index) {
    require_meta({x, index});
    std::vector<int64_t> shape = x.sizes().vec();
    shape[dimension < 0 ? dimension + x.dim() : dimension] = index.numel();
    return at::empty(shape, x.options());
}

at::Tensor &logical_or_out(const at::Tensor &a, const at::Tensor &b, at::Tensor &out) {
    require_meta({a, b, out});
    out.resize_(at::infer_size(a.sizes(), b.sizes()));
    return out;
}

at::Tensor where_self(const at::Tensor &condition, const at::Tensor &a, const at::Tensor &b) {
    require_meta({condition, a, b});
    return at::empty(at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes())),
                     a.options().dtype(at::result_type(a, b)));
}

at::Tensor &where_out(const at::Tensor &condition, const at::Tensor &a, const at::Tensor &b, at::Tensor &out) {
    out.resize_(where_self(condition, a, b).sizes());
    return out;
}

at::Tensor relu(const at::Tensor &x) { return at::empty_like(x); }

at::Tensor embedding_dense_backward(const at::Tensor &gradient, const at::Tensor &indices, at::SymInt rows, at::SymInt,
                                    bool) {
    require_meta({gradient, indices});
    return at::empty({rows.expect_int(), gradient.size(-1)}, gradient.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> native_layer_norm(const at::Tensor &x, at::SymIntArrayRef normalized,
                                                                 const std::optional<at::Tensor> &weight,
                                                                 const std::optional<at::Tensor> &bias, double) {
    require_meta({x, weight.value_or(at::Tensor()), bias.value_or(at::Tensor())});
    std::vector<int64_t> rows = x.sizes().vec();
    for (size_t i = 0; i < normalized.size(); ++i) rows[rows.size() - 1 - i] = 1;
    at::Tensor statistics = at::empty(rows, x.options().dtype(at::kFloat));
    return {at::empty_like(x), statistics, at::empty_like(statistics)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> native_layer_norm_backward(
    const at::Tensor &gradient, const at::Tensor &x, at::SymIntArrayRef, const at::Tensor &mean,
    const at::Tensor &deviation, const std::optional<at::Tensor> &weight, const std::optional<at::Tensor> &bias,
    std::array<bool, 3> wanted) {
    require_meta({gradient, x, mean, deviation});
    auto like = [&](bool is_wanted, const at::Tensor &tensor) {
        return is_wanted && tensor.defined() ? at::empty_like(tensor) : at::Tensor();
    };
    return {like(wanted[0], x), like(wanted[1], weight.value_or(at::Tensor())),
            like(wanted[2], bias.value_or(at::Tensor()))};
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, Meta, library) {
    library.impl("index_select", index_select);
    library.impl("logical_or.out", logical_or_out);
    library.impl("where.self", where_self);
    library.impl("where.self_out", where_out);
    library.impl("relu", relu);
    library.impl("embedding_dense_backward", embedding_dense_backward);
    library.impl("native_layer_norm", native_layer_norm);
    library.impl("native_layer_norm_backward", native_layer_norm_backward);
}
