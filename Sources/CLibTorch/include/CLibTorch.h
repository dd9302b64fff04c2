#pragma once
// The only door to libtorch: opaque tensors, the operations that a transformer and its distillation need, and the
// autograd functions of the OneBit layer. No policy, no model code.
//
// Conventions
// * A function that makes a tensor returns a handle that the caller releases with `lt_release`, or NULL on failure;
//   the message is then in `lt_last_error`, which belongs to the calling thread.
// * A function that returns int returns 0 on success and -1 on failure.
// * Handles are never shared between threads that write; reading one tensor from many threads is libtorch's own promise.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_tensor lt_tensor;
typedef struct lt_generator lt_generator;

typedef enum lt_type { LT_FLOAT32 = 0, LT_FLOAT16 = 1, LT_BFLOAT16 = 2, LT_INT64 = 3 } lt_type;

/// Message of this thread's last failure.
const char *lt_last_error(void);
/// Threads inside one operation that the calling thread starts.
void lt_set_threads(int count);
/// Whether this thread records operations for the backward pass. Returns the previous setting.
bool lt_set_gradient_recording(bool enabled);

// MARK: Handles, creation, reading

void lt_release(lt_tensor *tensor);
/// Copies `data`, which holds the product of `shape` elements of `type`.
lt_tensor *lt_from_data(const void *data, lt_type type, const int64_t *shape, int rank);
lt_tensor *lt_zeros(lt_type type, const int64_t *shape, int rank);
/// Standard normal numbers from `generator`, float32.
lt_tensor *lt_randn(const int64_t *shape, int rank, lt_generator *generator);
/// Copies all elements, in row-major order, as float32 (or int64) into `out`, which has room for `count` of them.
int lt_read_floats(const lt_tensor *tensor, float *out, size_t count);
int lt_read_integers(const lt_tensor *tensor, int64_t *out, size_t count);
int lt_rank(const lt_tensor *tensor);
int64_t lt_size(const lt_tensor *tensor, int dimension);
int64_t lt_element_count(const lt_tensor *tensor);

lt_generator *lt_generator_new(uint64_t seed);
void lt_generator_release(lt_generator *generator);

// MARK: Shape

lt_tensor *lt_reshape(const lt_tensor *tensor, const int64_t *shape, int rank);
lt_tensor *lt_transpose(const lt_tensor *tensor, int first, int second);
lt_tensor *lt_narrow(const lt_tensor *tensor, int dimension, int64_t start, int64_t length);
lt_tensor *lt_index_select(const lt_tensor *tensor, int dimension, const lt_tensor *indices);
/// Each slice along `dimension` repeated `times` times in place: a, a, b, b, …
lt_tensor *lt_repeat_interleave(const lt_tensor *tensor, int64_t times, int dimension);
/// The same values, cut off from the backward pass.
lt_tensor *lt_detach(const lt_tensor *tensor);
lt_tensor *lt_clone(const lt_tensor *tensor);
/// Writes `source` over `tensor`; shapes must agree.
int lt_copy(lt_tensor *tensor, const lt_tensor *source);

// MARK: Arithmetic

lt_tensor *lt_add(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_subtract(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_multiply(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_scale(const lt_tensor *a, double factor);
lt_tensor *lt_sum(const lt_tensor *a);
/// One-element tensor as a number.
int lt_item(const lt_tensor *a, double *out);

// MARK: Layers

/// Rows of `weight` [vocabulary, width] named by `indices`.
lt_tensor *lt_embedding(const lt_tensor *weight, const lt_tensor *indices);
/// x Wᵀ + b, W [out, in]; `bias` [out] may be NULL.
lt_tensor *lt_linear(const lt_tensor *x, const lt_tensor *weight, const lt_tensor *bias);
/// x / sqrt(mean(x²) + eps) ⊙ weight.
lt_tensor *lt_rms_norm(const lt_tensor *x, const lt_tensor *weight, double epsilon);
/// (x − mean(x)) / sqrt(var(x) + eps) ⊙ weight + bias, over the last dimension.
lt_tensor *lt_layer_norm(const lt_tensor *x, const lt_tensor *weight, const lt_tensor *bias, double epsilon);
/// max(x, 0).
lt_tensor *lt_relu(const lt_tensor *x);
/// silu(gate) ⊙ up.
lt_tensor *lt_swiglu(const lt_tensor *gate, const lt_tensor *up);
/// Rotary embedding of x [batch, length, heads, size] by cosines and sines [length, size / 2], or [batch, length,
/// size / 2] where each sequence has its own positions; halves split.
lt_tensor *lt_rotary(const lt_tensor *x, const lt_tensor *cosines, const lt_tensor *sines);
/// softmax(q kᵀ / sqrt(size) + mask) v over [batch, heads, length, size]; `mask` may be NULL.
lt_tensor *lt_attention(const lt_tensor *q, const lt_tensor *k, const lt_tensor *v, const lt_tensor *mask, bool causal);

typedef enum lt_sign_gradient { LT_SIGN_TANH = 0, LT_SIGN_HARD = 1 } lt_sign_gradient;
/// The OneBit layer Y = ((x ⊙ g) sign(W)ᵀ) ⊙ h, then LayerNorm without affine parameters unless `layer_norm_epsilon` < 0.
lt_tensor *lt_sign_linear(const lt_tensor *x, const lt_tensor *latent, const lt_tensor *input_scale,
                          const lt_tensor *output_scale, double layer_norm_epsilon, lt_sign_gradient gradient);

// MARK: Losses, each one scalar

/// Σ over rows of KL(softmax(teacher) ‖ softmax(student)) in nats, reduced in float32. Gradient for `student` only.
lt_tensor *lt_kl_divergence(const lt_tensor *teacher, const lt_tensor *student);
/// Mean over rows of ‖t/‖t‖₂ − s/‖s‖₂‖². Gradient for `student` only.
lt_tensor *lt_direction_loss(const lt_tensor *teacher, const lt_tensor *student);
/// Mean over rows of −log softmax(logits)[target], in nats.
lt_tensor *lt_cross_entropy(const lt_tensor *logits, const lt_tensor *targets);

// MARK: Decoding

/// log softmax over the last dimension.
lt_tensor *lt_log_softmax(const lt_tensor *logits);
/// The elements of the flattened tensor that `indices` names.
lt_tensor *lt_take(const lt_tensor *tensor, const lt_tensor *indices);
lt_tensor *lt_argmax(const lt_tensor *logits);
/// One draw per row from softmax(logits), int64 [rows].
lt_tensor *lt_sample(const lt_tensor *logits, lt_generator *generator);

// MARK: Training

int lt_set_requires_gradient(lt_tensor *tensor, bool required);
int lt_backward(const lt_tensor *loss);
/// The accumulated gradient, or NULL without an error where there is none.
lt_tensor *lt_gradient(const lt_tensor *tensor);
void lt_clear_gradient(lt_tensor *tensor);
/// Adds the gradient of `source` to that of `target` and forgets it there.
int lt_move_gradient(lt_tensor *source, lt_tensor *target);
/// Scales all gradients so that their joint 2-norm is at most `maximum`; stores the norm before. A norm that is not
/// finite leaves the gradients as they are.
int lt_clip_gradients(lt_tensor *const *parameters, int count, double maximum, double *norm);
/// One AdamW step (Loshchilov & Hutter 2019) on parameters with gradients; `step` counts from 1.
int lt_adamw(lt_tensor *const *parameters, lt_tensor *const *first_moments, lt_tensor *const *second_moments, int count,
             int64_t step, double learning_rate, double beta1, double beta2, double epsilon, double weight_decay);

#ifdef __cplusplus
}
#endif
