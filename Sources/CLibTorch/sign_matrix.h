#pragma once
// A matrix of ±1 at one bit per weight, and the products with it.

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <mutex>

#include "look_up_product.h"

namespace onebit {

struct SignMatrix : torch::CustomClassHolder {
    /// uint8 [rows, ceil(columns / 8)]: bit j of byte k of a row is column 8k + j, 1 means −1; 0 behind the last column.
    const at::Tensor bits;
    const int64_t columns;

    SignMatrix(at::Tensor bits, int64_t columns) : bits(std::move(bits)), columns(columns) {}

    int64_t rows() const { return bits.size(0); }

    /// ±1 [rows, columns] as numbers of a type.
    at::Tensor unpacked(at::ScalarType type) const;

    using Prepare = c10::function_ref<void(int64_t block, int64_t first, int64_t count)>;
    using Finish = c10::function_ref<void(int64_t block, int64_t first, int64_t count, float *rows)>;

    /// (X ⊙ scale) signsᵀ of X [tokens, columns], or (X ⊙ scale) signs of X [tokens, rows], of CPU floats, by look-ups where
    /// these are allowed and faster. `prepare` and `finish` as of `look_up_product`.
    at::Tensor product(const at::Tensor &x, const at::Tensor &scale, bool transposed, bool by_look_ups, Prepare prepare,
                       Finish finish) const;

   private:
    /// The matrix and its transpose for the look-up kernels; each is made when it is first used.
    mutable std::once_flag has_look_up, has_transposed_look_up;
    mutable LookUpMatrix look_up, transposed_look_up;
};

/// The bits of W [rows, columns]: 1 where W < 0, so that the sign of zero is +1.
at::Tensor packed_signs(const at::Tensor &latent);

}  // namespace onebit
