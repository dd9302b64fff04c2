#pragma once
// Products with sign matrices by look-ups, on the CPU, with the kernels of CSignKernels.
//
// An input row v = x ⊙ g is rounded to q · s with 16-bit integers q, s = max|v| / 32767; q signsᵀ is then exact. So
//     |y[r] − (v signsᵀ)[r]| ≤ columns · s / 2 = columns · max|v| / 65534
// at worst, and, the roundings being as good as random, about √columns · max|v| / 113,000 in the mean: 1e-5 of an output.
// A row's result does not depend on the other rows, nor on the number of threads.

#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>

namespace onebit {

/// A sign matrix in the order that this CPU's kernels read.
struct LookUpMatrix {
    at::Tensor bytes;
    int64_t rows, columns;
};

/// Whether there are kernels for this CPU, and they are faster than a float32 product for a matrix of that shape.
bool has_look_up_product(int64_t rows, int64_t columns);

/// From bits [rows, ceil(columns / 8)] as SignMatrix has them.
LookUpMatrix look_up_matrix(const at::Tensor &bits, int64_t columns);

/// The bits of the transposed matrix.
at::Tensor transposed_bits(const at::Tensor &bits, int64_t columns);

/// (X ⊙ g) signsᵀ of X [tokens, columns] and g [columns], float32 and contiguous, by blocks of rows: `prepare` is called
/// before a block's rows of X are read, `finish` with the block's rows of the result.
at::Tensor look_up_product(const at::Tensor &x, const at::Tensor &g, const LookUpMatrix &matrix,
                           c10::function_ref<void(int64_t block, int64_t first, int64_t count)> prepare,
                           c10::function_ref<void(int64_t block, int64_t first, int64_t count, float *rows)> finish);

}  // namespace onebit
