// The backward pass.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

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

int lt_gradients(lt_tensor *const *outputs, lt_tensor *const *upstreams, int output_count, lt_tensor *const *leaves,
                 int count, lt_tensor **gradients) {
    return guarded_effect([&] {
        std::vector<at::Tensor> above;
        for (int i = 0; i < output_count; ++i) above.push_back(upstreams[i] ? upstreams[i]->value : at::Tensor());
        std::vector<at::Tensor> found = torch::autograd::grad(values(outputs, output_count), values(leaves, count), above,
                                                              std::nullopt,
                                                              /*create_graph=*/false, /*allow_unused=*/true);
        for (int i = 0; i < count; ++i) gradients[i] = found[i].defined() ? new lt_tensor{found[i]} : nullptr;
    });
}
