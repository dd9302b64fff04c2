#pragma once
// What the implementations of AdamW's step share: the loops of optimizer.cpp for the CPU, the kernels of cuda/adamw.cuh for CUDA
// devices, and libtorch's operations of optimizer_operations.cpp, which any device has.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "CLibTorch.h"

namespace onebit {

/// Random bits are a function of seed, step and position alone: any sharding, device and resumption rounds alike.
uint64_t random_key(uint64_t seed, int64_t step);

/// Levels of an 8-bit moment: 128 of the first's magnitude, 256 of the second.
const float *moment_levels(bool is_signed);

/// Which of the random bits of an element round its value and its moments.
constexpr int value_bits = 0, first_moment_bits = 16, second_moment_bits = 40;

at::Tensor gradient_square_sum_by_operations(const lt_adamw_rows &rows, const lt_tensor *gradient,
                                         const lt_latent_scales *latent);
at::Tensor adamw_step_by_operations(const lt_adamw_rows &rows, const lt_tensor *gradient, const lt_latent_scales *latent,
                                    const lt_adamw_settings &settings, uint64_t seed, int64_t first_element,
                                    lt_tensor *signs);

}  // namespace onebit
