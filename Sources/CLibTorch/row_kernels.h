#pragma once
// The kernels of CSignKernels over rows of CPU tensors: one pass over memory where libtorch's operations take several.
// Rows go in blocks; what is summed over rows is summed block by block, so that the number of threads changes no bit.

#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>

#include "CSignKernels.h"

namespace onebit {

/// This CPU's kernels, or those that ONEBIT_INSTRUCTION_SET names, as in OneBitRuntime.
const sign_kernels_table &kernels();

constexpr int64_t rows_of_block = 8;

/// Numbers of rows as the kernels read them.
at::Tensor plain_floats(const at::Tensor &x);
inline const float *read(const at::Tensor &x) { return static_cast<const float *>(x.const_data_ptr()); }
inline float *write(const at::Tensor &x) { return static_cast<float *>(x.mutable_data_ptr()); }

/// Calls `body` for every block of rows, shared out over the threads.
void for_blocks(int64_t rows, c10::function_ref<void(int64_t block, int64_t first, int64_t count)> body);

/// Sums of `width` numbers, one for each block of rows, and their total.
class BlockSums {
  public:
    BlockSums(int64_t rows, int64_t width, bool wanted);
    float *of(int64_t block);
    /// [width]; undefined where not wanted.
    at::Tensor total() const;

  private:
    at::Tensor sums;
};

}  // namespace onebit
