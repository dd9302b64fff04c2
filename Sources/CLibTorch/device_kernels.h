#pragma once
// Kernels of this project for CUDA devices. NVRTC, which comes with PyTorch, compiles them when they are first used: neither
// NVIDIA's compiler nor a header is needed to build the program.
//
// Each is in one reading and one writing of memory what libtorch's operations beside its call are in several. These remain
// for what the kernels do not know: other shapes, a libtorch without NVRTC, and ONEBIT_DEVICE_KERNELS=0.

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <utility>

#include "CLibTorch.h"

namespace onebit::device_kernels {

/// Whether there are kernels for these tensors: on one CUDA device, of one float type, contiguous, in rows of whole packs of 8.
bool know(std::initializer_list<at::Tensor> tensors);

/// x ⊙ scale of rows x.
at::Tensor scaled(const at::Tensor &x, const at::Tensor &scale);

/// The same, and Σ_rows x ⊙ z in float32.
std::pair<at::Tensor, at::Tensor> scaled_and_summed(const at::Tensor &x, const at::Tensor &scale, const at::Tensor &z);

/// Whether there are kernels for the bits of a sign matrix.
bool know_bits(const at::Tensor &bits, int64_t columns);

/// ±1 [rows, columns] of bits.
at::Tensor unpacked_signs(const at::Tensor &bits, at::ScalarType type);

/// x r ⊙ w, and r of each row.
std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon);

/// The gradients by x, and, where `wants_weight`, by w in float32.
std::pair<at::Tensor, at::Tensor> rms_norm_gradient(const at::Tensor &x, const at::Tensor &weight,
                                                    const at::Tensor &reciprocals, const at::Tensor &dy,
                                                    bool wants_weight);

at::Tensor swiglu(const at::Tensor &gate, const at::Tensor &up);
std::pair<at::Tensor, at::Tensor> swiglu_gradient(const at::Tensor &gate, const at::Tensor &up, const at::Tensor &dz);

/// Whether there are kernels for rotating x [batch, length, heads, size] by tables [length, size / 2].
bool know_rotation(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines);
at::Tensor rotated(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines, double direction);

/// ‖t̂ − ŝ‖² of each row, and `factor` times half its gradient by s.
std::pair<at::Tensor, at::Tensor> direction_loss(const at::Tensor &teacher, const at::Tensor &student, double factor);

/// Of each row KL(teacher ‖ student) and the cross-entropy, and the gradient of their weighted sum by the student's logits;
/// `teacher` or `targets` may be undefined.
struct LogitLoss {
    at::Tensor divergences, cross_entropies, gradient;
};
LogitLoss logit_loss(const at::Tensor &student, const at::Tensor &teacher, const at::Tensor &targets,
                     const lt_head_loss_settings &settings);

/// Whether AdamW's step on these rows has a kernel.
bool know(const lt_adamw_rows &rows, const lt_tensor *gradient);

/// Σ of the squares of the gradient's elements, a float64 on the rows' device.
at::Tensor gradient_square_sum(const lt_adamw_rows &rows, const lt_tensor *gradient, const lt_latent_scales *latent);

/// AdamW's step; how many signs it turned, an int64 on the rows' device.
at::Tensor adamw_step(const lt_adamw_rows &rows, const lt_tensor *gradient, const lt_latent_scales *latent,
                      const lt_adamw_settings &settings, uint64_t seed, int64_t first_element, const lt_tensor *signs);

}  // namespace onebit::device_kernels
