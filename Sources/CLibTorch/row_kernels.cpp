#include "row_kernels.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>

#include "parallel.h"

const sign_kernels_table &onebit::kernels() {
    static const sign_kernels_table *table = [] {
        const char *name = std::getenv("ONEBIT_INSTRUCTION_SET");
        const sign_kernels_table *found = sign_kernels_find(name && *name ? name : nullptr);
        TORCH_CHECK(found, "ONEBIT_INSTRUCTION_SET is ", name, ", which is not known here or not what this CPU can run");
        return found;
    }();
    return *table;
}

at::Tensor onebit::plain_floats(const at::Tensor &x) { return x.detach().to(at::kFloat).contiguous(); }

void onebit::for_blocks(int64_t rows, c10::function_ref<void(int64_t block, int64_t first, int64_t count)> body) {
    int64_t blocks = (rows + rows_of_block - 1) / rows_of_block;
    // Fewer rows are done before another thread has woken up.
    constexpr int64_t blocks_at_a_time = 8;
    onebit::parallel_for(0, blocks, blocks_at_a_time, [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block) {
            int64_t first = block * rows_of_block;
            body(block, first, std::min(rows_of_block, rows - first));
        }
    });
}

onebit::BlockSums::BlockSums(int64_t rows, int64_t width, bool wanted) {
    if (wanted) sums = at::zeros({(rows + rows_of_block - 1) / rows_of_block, width}, at::kFloat);
}

float *onebit::BlockSums::of(int64_t block) { return sums.defined() ? write(sums) + block * sums.size(1) : nullptr; }

at::Tensor onebit::BlockSums::total() const {
    if (!sums.defined()) return {};
    at::Tensor result = at::zeros({sums.size(1)}, at::kFloat);
    for (int64_t block = 0; block < sums.size(0); ++block) {
        kernels().add(read(sums) + block * sums.size(1), static_cast<size_t>(sums.size(1)), write(result));
    }
    return result;
}
