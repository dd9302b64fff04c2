#pragma once
// The only interface to libtorch: opaque tensors, the operations that a transformer and its distillation need, and the
// autograd functions of the OneBit layer. No policy, no model code.
//
// Conventions
// * A function that makes a tensor returns a handle that the caller releases with `lt_release`, or NULL on failure;
//   the message is then in `lt_last_error`, which belongs to the calling thread.
// * A function that returns int returns 0 on success and -1 on failure.
// * No function writes to a tensor that a handle was returned for, except those that take it as `lt_tensor *` and not as
//   `const lt_tensor *`. Any number of threads may therefore use one handle, as long as none of them writes to its
//   storage; libtorch's reference counts are atomic.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_tensor lt_tensor;
typedef struct lt_generator lt_generator;
typedef struct lt_sign_matrix lt_sign_matrix;

typedef enum lt_type { LT_FLOAT32 = 0, LT_FLOAT16 = 1, LT_BFLOAT16 = 2, LT_INT64 = 3, LT_UINT8 = 4 } lt_type;
/// A tensor on LT_META has a shape and a type and no elements.
typedef enum lt_device_kind { LT_CPU = 0, LT_CUDA = 1, LT_META = 2 } lt_device_kind;
typedef struct lt_device {
    lt_device_kind kind;
    int index;
} lt_device;

/// Message of this thread's last failure.
const char *lt_last_error(void);
/// Whether it was that a device had no memory left.
bool lt_last_error_is_memory(void);
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

// MARK: Devices other than the CPU

/// Whether a tensor was made by this process: too late for `lt_load_cuda`.
bool lt_has_made_tensors(void);
/// The version that this program was compiled for.
const char *lt_version(void);
/// The file that libtorch's CPU library was loaded from.
const char *lt_library_path(void);
/// Whether NVIDIA's driver is installed, as far as its library says. Loads nothing else.
bool lt_has_cuda_driver(void);
/// Opens libtorch_cuda.so. Before any tensor is made: libtorch looks only once whether there is CUDA.
int lt_load_cuda(const char *path);
bool lt_cuda_is_loaded(void);

typedef struct lt_cuda_state {
    /// cudaError_t: 0, 100 without a device, 35 with a driver too old or none; the text is in `lt_last_error`.
    int error;
    int devices;
    /// 1000 major + 10 minor of the CUDA that the driver knows, 0 without a driver, and of the one that was loaded.
    int driver_version, runtime_version;
} lt_cuda_state;
/// What CUDA says of the machine; after `lt_load_cuda`.
lt_cuda_state lt_ask_cuda(void);

typedef struct lt_cuda_device {
    char name[256];
    /// Compute capability.
    int major, minor;
    int64_t bytes;
} lt_cuda_device;
int lt_describe_cuda_device(int index, lt_cuda_device *device);
/// Makes a device the one that is computed on, with results that are the same every time.
int lt_use_cuda_device(int index);

typedef struct lt_memory {
    /// Of the device, other processes' included.
    int64_t free, total;
    /// In tensors, now and at most, and at most with what the allocator keeps for the next ones.
    int64_t allocated, peak_allocated, peak_reserved;
    /// How often the allocator ran out and gave back what it kept.
    int64_t retries;
} lt_memory;
int lt_device_memory(lt_device device, lt_memory *memory);
int lt_reset_peak_memory(lt_device device);
int lt_release_cached_memory(void);
/// Waits for all that was started on the device.
int lt_synchronize(lt_device device);

/// A queue of a device's work. Which one a thread's work goes to is the thread's own affair.
typedef struct lt_stream {
    int64_t id;
    int device;
} lt_stream;
typedef struct lt_event lt_event;
int lt_current_stream(lt_device device, lt_stream *stream);
int lt_new_stream(lt_device device, lt_stream *stream);
/// Sends what the calling thread starts to `stream`.
int lt_exchange_stream(lt_stream stream, lt_stream *previous);
/// What comes to pass once all work that `stream` holds now is done.
lt_event *lt_record_event(lt_stream stream);
void lt_event_release(lt_event *event);
/// Holds work that `stream` receives from now on until the event.
int lt_stream_wait(lt_stream stream, const lt_event *event);
/// Holds the calling thread until the event.
int lt_event_wait(const lt_event *event);

/// Elements of any value in host memory that a device copies from and to by itself, once one was chosen.
lt_tensor *lt_empty_pinned(lt_type type, const int64_t *shape, int rank);
/// The same elements on a device. The copy is work of the current stream: from pinned memory the call does not wait for it.
lt_tensor *lt_to_async(const lt_tensor *tensor, lt_device device);
/// Writes `source` over `destination`, in the same manner.
int lt_copy_async(lt_tensor *destination, const lt_tensor *source);

// MARK: Handles, creation, reading

void lt_release(lt_tensor *tensor);
/// Copies `data`, which holds the product of `shape` elements of `type`.
lt_tensor *lt_from_data(const void *data, lt_type type, const int64_t *shape, int rank, lt_device device);
lt_tensor *lt_full(double value, lt_type type, const int64_t *shape, int rank, lt_device device);
/// Zeros in storage for what stays: in CPU memory, a mapping of its own where it is large.
lt_tensor *lt_storage(lt_type type, const int64_t *shape, int rank, lt_device device);
/// Standard normal numbers from `generator`, drawn on the CPU in float32.
lt_tensor *lt_randn(lt_type type, const int64_t *shape, int rank, lt_device device, lt_generator *generator);
/// [length, start + length]: 0 where token start + i sees token j, which is j <= start + i < j + window; -inf elsewhere.
lt_tensor *lt_causal_mask(lt_type type, int64_t length, int64_t start, int64_t window, lt_device device);
/// [rows, 1, 1, count] for `last` int64 [rows]: 0 where column j is at most last and above last - window; -inf elsewhere.
lt_tensor *lt_window_mask(lt_type type, const lt_tensor *last, int64_t count, int64_t window);
/// The same elements in another type or on another device; the tensor itself where it has both already.
lt_tensor *lt_to(const lt_tensor *tensor, lt_type type, lt_device device);
lt_type lt_type_of(const lt_tensor *tensor);
lt_device lt_device_of(const lt_tensor *tensor);
/// Copies all elements, in row-major order, as float32 (or int64) into `out`, which has room for `count` of them.
int lt_read_floats(const lt_tensor *tensor, float *out, size_t count);
int lt_read_integers(const lt_tensor *tensor, int64_t *out, size_t count);
/// The same elements in row-major order in the CPU's memory; the tensor itself where they lie so.
lt_tensor *lt_contiguous(const lt_tensor *tensor);
/// The elements of a contiguous tensor on the CPU, as they lie; NULL for others.
const void *lt_bytes(const lt_tensor *tensor);
/// Whether no element is NaN or infinite.
int lt_is_finite(const lt_tensor *tensor, bool *result);
int lt_rank(const lt_tensor *tensor);
int64_t lt_size(const lt_tensor *tensor, int dimension);
int64_t lt_element_count(const lt_tensor *tensor);
/// Writes `source` into `length` slices from `start` along `dimension`, outside the backward pass.
int lt_write(lt_tensor *tensor, int dimension, int64_t start, const lt_tensor *source);
/// Writes source [rows, heads, size] over tensor[slots[i], :, positions[i], :], of a tensor [slots, heads, positions, size].
int lt_write_rows(lt_tensor *tensor, const lt_tensor *slots, const lt_tensor *positions, const lt_tensor *source);
/// Makes all elements zero.
int lt_clear(lt_tensor *tensor);
/// Adds `source`, of any float type, to `tensor` of the same shape.
int lt_accumulate(lt_tensor *tensor, const lt_tensor *source);

lt_generator *lt_generator_new(uint64_t seed);
void lt_generator_release(lt_generator *generator);

// MARK: Shape

lt_tensor *lt_reshape(const lt_tensor *tensor, const int64_t *shape, int rank);
lt_tensor *lt_transpose(const lt_tensor *tensor, int first, int second);
lt_tensor *lt_narrow(const lt_tensor *tensor, int dimension, int64_t start, int64_t length);
lt_tensor *lt_index_select(const lt_tensor *tensor, int dimension, const lt_tensor *indices);
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
/// Σ over the first dimension, in float32.
lt_tensor *lt_sum_rows(const lt_tensor *a);

// MARK: Layers

// A layer computes in the type of its input x and converts its parameters, which may be of any float type.

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
/// gelu(x), approximated by tanh.
lt_tensor *lt_gelu_tanh(const lt_tensor *x);
/// cap · tanh(x / cap).
lt_tensor *lt_soft_cap(const lt_tensor *x, double cap);
/// silu(gate) ⊙ up.
lt_tensor *lt_swiglu(const lt_tensor *gate, const lt_tensor *up);
/// Rotary embedding of x [batch, length, heads, size] by cosines and sines [length, size / 2], or [batch, length,
/// size / 2] where each sequence has its own positions; halves split.
lt_tensor *lt_rotary(const lt_tensor *x, const lt_tensor *cosines, const lt_tensor *sines);
/// softmax(q kᵀ / sqrt(size) + mask) v over [batch, heads, length, size]. Keys and values may have fewer heads, each of
/// which then serves as many query heads in a row. `mask` may be NULL. A `soft_cap` that is not 0 caps the scores as
/// lt_soft_cap does, before the mask.
lt_tensor *lt_attention(const lt_tensor *q, const lt_tensor *k, const lt_tensor *v, const lt_tensor *mask, bool causal,
                        double soft_cap);

// MARK: Sign matrices: ±1 [rows, columns] at one bit per weight

/// The signs of `latent` [rows, columns]; that of zero is +1.
lt_sign_matrix *lt_signs_of(const lt_tensor *latent);
/// From uint8 [rows, ceil(columns / 8)]: bit j of byte k of a row is column 8k + j, 1 means −1; 0 behind the last column.
lt_sign_matrix *lt_signs_from_bits(const lt_tensor *bits, int64_t columns);
void lt_signs_release(lt_sign_matrix *signs);
lt_tensor *lt_signs_bits(const lt_sign_matrix *signs);
/// ±1 [rows, columns].
lt_tensor *lt_signs_unpacked(const lt_sign_matrix *signs, lt_type type);
/// How many signs differ.
int lt_signs_turned(const lt_sign_matrix *before, const lt_sign_matrix *after, int64_t *count);

/// How products with sign matrices are computed: by look-ups with inputs rounded to 16 bits where that is faster (float32
/// on the CPU), or always by products of floats.
typedef enum lt_sign_products { LT_PRODUCTS_FASTEST = 0, LT_PRODUCTS_FLOAT = 1 } lt_sign_products;

/// The OneBit layer Y = ((x ⊙ g) signsᵀ) ⊙ h, then LayerNorm without affine parameters unless `layer_norm_epsilon` < 0.
/// The gradient by `product` [rows, columns], from `lt_gradient_carrier`, is P = dYᵀ x; NULL where it is not wanted.
lt_tensor *lt_sign_linear(const lt_tensor *x, const lt_sign_matrix *signs, const lt_tensor *input_scale,
                          const lt_tensor *output_scale, const lt_tensor *product, double layer_norm_epsilon,
                          lt_sign_products products);
/// A leaf of the backward pass of a type and shape that takes no memory.
lt_tensor *lt_gradient_carrier(lt_type type, const int64_t *shape, int rank, lt_device device);

// MARK: Losses with their gradients

typedef struct lt_head_loss_settings {
    /// Factor of Σ_rows KL(p_teacher ‖ p_student) in the gradient.
    double divergence_weight;
    /// Factor of Σ_rows −log p_student[target] in the gradient.
    double cross_entropy_weight;
    /// Rows whose logits exist at a time.
    int64_t rows_at_a_time;
    /// What caps the logits of both, as lt_soft_cap does; 0 for nothing.
    double soft_cap;
} lt_head_loss_settings;
/// The loss of the output head, whose logits `input` headᵀ are never there as a whole: `input` [rows, width], `head`
/// [vocabulary, width], the teacher's two likewise or NULL, `targets` [rows] (−1: none) or NULL. Into `result`: both sums
/// in nats [2], and the gradient by `input`. The gradient by `head` is added to `head_gradient`, float32 [vocabulary, width],
/// unless that is NULL.
int lt_head_loss(const lt_tensor *input, const lt_tensor *head, const lt_tensor *teacher_input,
                 const lt_tensor *teacher_head, const lt_tensor *targets, lt_head_loss_settings settings,
                 lt_tensor *head_gradient, lt_tensor *result[2]);
/// Mean over rows of ‖t/‖t‖₂ − s/‖s‖₂‖², and `weight` times its gradient by the student's states.
int lt_direction_loss(const lt_tensor *teacher, const lt_tensor *student, double weight, lt_tensor *result[2]);

/// Mean over sequences, heads and tokens of Σ_j (t_j − s_j)², where t and s are what teacher and student attend with to each
/// token j: softmax(q kᵀ / √size + mask), q [batch, heads, length, size], k [batch, key/value heads, length, size],
/// with scores that are capped where `soft_cap` is not 0. Into `result`: the loss, and `weight` times its gradients by the
/// student's queries and keys.
int lt_attention_map_loss(const lt_tensor *teacher_q, const lt_tensor *teacher_k, const lt_tensor *q, const lt_tensor *k,
                          const lt_tensor *mask, bool causal, double soft_cap, double weight, lt_tensor *result[3]);

// MARK: Decoding

/// log softmax over the last dimension.
lt_tensor *lt_log_softmax(const lt_tensor *logits);
/// The elements of the flattened tensor that `indices` names.
lt_tensor *lt_take(const lt_tensor *tensor, const lt_tensor *indices);
lt_tensor *lt_argmax(const lt_tensor *logits);

// MARK: Linear algebra, float32

/// Σ x² of all elements.
int lt_square_sum(const lt_tensor *tensor, double *sum);
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
/// Gradients by each of the leaves of Σ over outputs of Σ output ⊙ upstream, into `gradients`; NULL there for a leaf that no
/// output depends on. An upstream may be NULL where its output is a scalar.
int lt_gradients(lt_tensor *const *outputs, lt_tensor *const *upstreams, int output_count, lt_tensor *const *leaves,
                 int count, lt_tensor **gradients);

typedef struct lt_adamw_settings {
    /// Counts from 1.
    int64_t step;
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    /// What the gradient is multiplied by first.
    double gradient_factor;
} lt_adamw_settings;
/// How the gradient passes through the sign function: the released code's 1.001 − tanh²(w), or 1 where |w| < 1, else 0.
typedef enum lt_sign_gradient { LT_SIGN_TANH = 0, LT_SIGN_HARD = 1 } lt_sign_gradient;

/// Elements of a row that share the scale of an 8-bit moment.
#define LT_MOMENT_BLOCK 256

/// Rows of one parameter and AdamW's moments of them, contiguous [rows, columns]. A step writes all of them.
typedef struct lt_adamw_rows {
    /// float32 or bfloat16.
    lt_tensor *value;
    /// float32, bfloat16, or uint8: codes relative to a scale per block.
    lt_tensor *first_moment, *second_moment;
    /// float32 [rows, ⌈columns / LT_MOMENT_BLOCK⌉] of uint8 moments, NULL for others.
    lt_tensor *first_scale, *second_scale;
    /// Whether to compute with libtorch's operations, which every device has, in place of the loops that the CPU has and the
    /// kernels that CUDA devices have.
    bool by_operations;
} lt_adamw_rows;

/// The scales by which P = dYᵀX of latent rows becomes their gradient: dW = P ⊙ (h gᵀ) ⊙ sign′(W).
typedef struct lt_latent_scales {
    /// h of these rows, g of all columns.
    const lt_tensor *output_scale, *input_scale;
    lt_sign_gradient sign_gradient;
} lt_latent_scales;

/// Σ of the squares of the rows' gradient, for `lt_read_numbers`; `latent` is NULL unless the rows are latent weights and
/// `gradient` is P.
lt_tensor *lt_gradient_square_sum(lt_adamw_rows rows, const lt_tensor *gradient, const lt_latent_scales *latent);
/// One AdamW step (Loshchilov & Hutter 2019), computed in float32 and written in place.
///
/// What is stored in fewer bits is rounded up or down at random, so that the mean is right; `seed`, the step and the
/// position among all rows, which begin at `first_element`, decide. `signs`, uint8 [rows, ⌈columns / 8⌉] or NULL, gets the
/// new signs. The result, for `lt_read_numbers`, is how many are others than before.
lt_tensor *lt_adamw_step(lt_adamw_rows rows, const lt_tensor *gradient, const lt_latent_scales *latent,
                         lt_adamw_settings settings, uint64_t seed, int64_t first_element, lt_tensor *signs);
/// Waits once for tensors of one number each, of one device.
int lt_read_numbers(lt_tensor *const *tensors, int count, double *numbers);

// MARK: Collectives

/// Where processes meet before they know each other, and leave each other short messages after.
typedef struct lt_store lt_store;
/// Processes that compute together. All of them start the same collectives in the same order, from one thread each.
typedef struct lt_group lt_group;
/// A collective under way.
typedef struct lt_work lt_work;

typedef enum lt_group_failure {
    LT_GROUP_FAILED = 0,
    LT_GROUP_TIMED_OUT = 1,
    LT_GROUP_PEER_LOST = 2,
    LT_GROUP_IN_USE = 3
} lt_group_failure;
/// What kind of failure this thread's last call of this part of the header met.
lt_group_failure lt_last_group_failure(void);

/// Over TCP: one process serves, all connect. Port 0 takes a free one. The limit is that of each later call.
lt_store *lt_store_tcp(const char *host, int port, bool serves, int milliseconds);
/// In a file that all processes see.
lt_store *lt_store_file(const char *path, int size);
/// Within one process.
lt_store *lt_store_memory(void);
/// The same store for another thread.
lt_store *lt_store_clone(const lt_store *store);
void lt_store_release(lt_store *store);
/// The port that a store over TCP uses.
int lt_store_port(const lt_store *store);
int lt_store_set(const lt_store *store, const char *key, const void *bytes, size_t count);
/// 1 or 0; -1 on failure.
int lt_store_has(const lt_store *store, const char *key);
/// Waits for the key, copies the first `capacity` bytes of its value and returns how many it has; -1 on failure.
int64_t lt_store_get(const lt_store *store, const char *key, void *bytes, size_t capacity);
int lt_store_add(const lt_store *store, const char *key, int64_t amount, int64_t *result);
/// Whether something listens there: 1 or 0; -1 where the host has no address.
int lt_reach(const char *host, int port, int milliseconds);

/// Joins a group over Gloo, on CPU tensors.
///
/// `host` is a name or address of this machine that the others reach, `interface` a network interface to use in its place;
/// both may be NULL. `milliseconds` is the limit of the joining and of each collective.
lt_group *lt_group_gloo(const lt_store *store, const char *prefix, const char *host, const char *interface, int rank,
                        int size, int milliseconds);
/// Whether the library of NCCL's part of a group is there and fits.
int lt_find_nccl(void);
/// Gives the group NCCL for tensors of CUDA devices, at the same store. After `lt_use_cuda_device`.
int lt_group_add_nccl(lt_group *group, const lt_store *store, const char *prefix, int rank, int size, int milliseconds);
/// Waits for the collectives under way.
void lt_group_release(lt_group *group);
/// Σ over the ranks, in place.
lt_work *lt_start_all_reduce(const lt_group *group, lt_tensor *tensor);
/// `whole` [size, …] gets each rank's `part` […].
lt_work *lt_start_all_gather(const lt_group *group, lt_tensor *whole, const lt_tensor *part);
/// `received[r]` gets what rank r has in `sent[own rank]`; both are [size, …].
lt_work *lt_start_exchange(const lt_group *group, lt_tensor *received, const lt_tensor *sent);
/// The root's elements in place of those of the others.
lt_work *lt_start_broadcast(const lt_group *group, lt_tensor *tensor, int root);
/// 1 once the work is done, 0 where it is not after `milliseconds`, -1 where it failed.
int lt_work_wait(lt_work *work, int milliseconds);
void lt_work_release(lt_work *work);

#ifdef __cplusplus
}
#endif
