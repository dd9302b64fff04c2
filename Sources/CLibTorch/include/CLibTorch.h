#pragma once
// The only interface to libtorch: opaque tensors, the operations that a transformer and its distillation need, and the
// autograd functions of the OneBit layer. No policy, no model code.
//
// Conventions
// * A function that makes a tensor returns a handle that the caller releases with `lt_release`, or NULL on failure;
//   the message is then in `lt_last_error`, which belongs to the calling thread.
// * A function that returns int returns 0 on success and -1 on failure.
// * No function writes to a tensor that a handle was returned for, except `lt_write`. Any number of threads may therefore
//   use one handle, as long as none of them writes to its storage; libtorch's reference counts are atomic.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_tensor lt_tensor;
typedef struct lt_generator lt_generator;

typedef enum lt_type { LT_FLOAT32 = 0, LT_FLOAT16 = 1, LT_BFLOAT16 = 2, LT_INT64 = 3 } lt_type;
typedef enum lt_device_kind { LT_CPU = 0, LT_CUDA = 1 } lt_device_kind;
typedef struct lt_device {
    lt_device_kind kind;
    int index;
} lt_device;

/// Message of this thread's last failure.
const char *lt_last_error(void);
/// Threads inside one operation that the calling thread starts.
void lt_set_threads(int count);
/// Whether this thread records operations for the backward pass. Returns the previous setting.
bool lt_set_gradient_recording(bool enabled);

/// True when the work of a thread should stop.
typedef bool (*lt_stop_test)(void *context);
/// Sets what the fused layers ask, on the calling thread, before each forward and backward pass through one of them; they
/// fail once it says true. NULL removes it. libtorch runs the backward pass of CPU tensors on the thread that asks for it.
void lt_set_stop_test(lt_stop_test test, void *context);
/// Whether the calling thread's stop test says true; false without one.
bool lt_is_stopped(void);

// MARK: Handles, creation, reading

void lt_release(lt_tensor *tensor);
/// Copies `data`, which holds the product of `shape` elements of `type`.
lt_tensor *lt_from_data(const void *data, lt_type type, const int64_t *shape, int rank, lt_device device);
lt_tensor *lt_full(double value, lt_type type, const int64_t *shape, int rank, lt_device device);
/// Elements of any value: for storage that is written before it is read.
lt_tensor *lt_empty(lt_type type, const int64_t *shape, int rank, lt_device device);
/// Standard normal numbers from `generator`, drawn on the CPU in float32.
lt_tensor *lt_randn(lt_type type, const int64_t *shape, int rank, lt_device device, lt_generator *generator);
/// [length, start + length]: 0 where token start + i sees token j, which is j <= start + i < j + window; -inf elsewhere.
lt_tensor *lt_causal_mask(lt_type type, int64_t length, int64_t start, int64_t window, lt_device device);
/// The same elements in another type or on another device; the tensor itself where it has both already.
lt_tensor *lt_to(const lt_tensor *tensor, lt_type type, lt_device device);
lt_type lt_type_of(const lt_tensor *tensor);
lt_device lt_device_of(const lt_tensor *tensor);
/// Copies all elements, in row-major order, as float32 (or int64) into `out`, which has room for `count` of them.
int lt_read_floats(const lt_tensor *tensor, float *out, size_t count);
int lt_read_integers(const lt_tensor *tensor, int64_t *out, size_t count);
int lt_rank(const lt_tensor *tensor);
int64_t lt_size(const lt_tensor *tensor, int dimension);
int64_t lt_element_count(const lt_tensor *tensor);
/// Writes `source` into `length` slices from `start` along `dimension`, outside the backward pass.
int lt_write(lt_tensor *tensor, int dimension, int64_t start, const lt_tensor *source);

lt_generator *lt_generator_new(uint64_t seed);
void lt_generator_release(lt_generator *generator);

// MARK: Shape

lt_tensor *lt_reshape(const lt_tensor *tensor, const int64_t *shape, int rank);
lt_tensor *lt_transpose(const lt_tensor *tensor, int first, int second);
lt_tensor *lt_narrow(const lt_tensor *tensor, int dimension, int64_t start, int64_t length);
lt_tensor *lt_index_select(const lt_tensor *tensor, int dimension, const lt_tensor *indices);
/// Each slice along `dimension` repeated `times` times in place: a, a, b, b, …
lt_tensor *lt_repeat_interleave(const lt_tensor *tensor, int64_t times, int dimension);
/// Tensors one behind the other along a dimension that they have.
lt_tensor *lt_concatenate(lt_tensor *const *tensors, int count, int dimension);
/// Tensors of one shape one behind the other along a new first dimension.
lt_tensor *lt_stack(lt_tensor *const *tensors, int count);
/// The same values, cut off from the backward pass.
lt_tensor *lt_detach(const lt_tensor *tensor);

// MARK: Arithmetic

lt_tensor *lt_add(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_subtract(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_multiply(const lt_tensor *a, const lt_tensor *b);
lt_tensor *lt_scale(const lt_tensor *a, double factor);
lt_tensor *lt_sum(const lt_tensor *a);

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

// MARK: Linear algebra, float32

/// Adds aᵀ b of a [rows, m] and b [rows, n] to `sum` [m, n].
int lt_add_product(lt_tensor *sum, const lt_tensor *a, const lt_tensor *b);
/// Adds the lower triangle of xᵀ x of x [rows, n] to `gram` [n, n]; what lies above it becomes anything.
int lt_add_gram(lt_tensor *gram, const lt_tensor *x);
/// The symmetric matrix that has the lower triangle of `lower`, with `damping` times the mean of its diagonal, or 1 where that
/// is 0, added to its diagonal and stored in `added`.
int lt_damped(const lt_tensor *lower, double damping, lt_tensor **result, double *added);
/// V, upper triangular, with V Vᵀ = `matrix`, which is symmetric; NULL in `factor` where it is not positive definite.
int lt_upper_factor(const lt_tensor *matrix, lt_tensor **factor);
/// X with X V Vᵀ = `rows` [m, n], for V [n, n] from `lt_upper_factor`.
lt_tensor *lt_solve_rows(const lt_tensor *rows, const lt_tensor *factor);

// MARK: Signs chosen column by column on the CPU (the equations are in column_signs.cpp)

/// First pass: T [out, in] of the dense optimum `weight` and V of A = V Vᵀ.
lt_tensor *lt_compensated_targets(const lt_tensor *weight, const lt_tensor *factor, const lt_tensor *input_scale,
                                  const lt_tensor *output_scale);
/// One sweep of coordinate descent from the signs of `targets`: the new T. `gram` is A, `cross` is C.
lt_tensor *lt_descended_targets(const lt_tensor *targets, const lt_tensor *gram, const lt_tensor *cross,
                                const lt_tensor *input_scale, const lt_tensor *output_scale);
/// h that fits the signs of `targets` best, and how much of each row's squared output it accounts for: [2, out].
lt_tensor *lt_fitted_output_scale(const lt_tensor *targets, const lt_tensor *gram, const lt_tensor *cross,
                                  const lt_tensor *input_scale);

// MARK: Training

/// The same values as a leaf that gradients are wanted of.
lt_tensor *lt_requiring_gradient(const lt_tensor *tensor);
/// Gradients of the scalar `loss` by each of the leaves, into `gradients`; NULL there for a leaf that it does not depend on.
int lt_gradients(const lt_tensor *loss, lt_tensor *const *leaves, int count, lt_tensor **gradients);
/// The joint 2-norm of all tensors.
int lt_joint_norm(lt_tensor *const *tensors, int count, double *norm);

typedef struct lt_adamw_settings {
    /// Counts from 1.
    int64_t step;
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    /// What the gradient is multiplied by first.
    double gradient_factor;
} lt_adamw_settings;
/// One AdamW step (Loshchilov & Hutter 2019) of one parameter: its new value and moments, in that order, into `result`.
int lt_adamw(const lt_tensor *value, const lt_tensor *gradient, const lt_tensor *first_moment,
             const lt_tensor *second_moment, lt_adamw_settings settings, lt_tensor *result[3]);

#ifdef __cplusplus
}
#endif
