#pragma once
// Matrix products, by the fastest way that libtorch has on the device.

#include <ATen/core/Tensor.h>

namespace onebit {

/// a b of matrices.
at::Tensor product(const at::Tensor &a, const at::Tensor &b);

/// a bᵀ of matrices.
at::Tensor product_transposed(const at::Tensor &a, const at::Tensor &b);

/// Adds aᵀ b to `sum`, float32 without gaps; no product is made in between where CPU floats are added.
void add_transposed_product(const at::Tensor &sum, const at::Tensor &a, const at::Tensor &b);

}  // namespace onebit
