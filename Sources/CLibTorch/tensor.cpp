// Handles, shapes, arithmetic: one call of libtorch each.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "handle.h"

using onebit::guarded;
using onebit::guarded_effect;
using onebit::guarded_tensor;

struct lt_generator {
    at::Generator value;
};

namespace {

thread_local std::string last_error;
thread_local bool last_error_is_memory = false;
thread_local lt_stop_test stop_test = nullptr;
thread_local void *stop_context = nullptr;

at::TensorOptions options(lt_type type, lt_device device) {
    return at::TensorOptions().dtype(onebit::scalar_type(type)).device(onebit::place(device));
}

at::IntArrayRef dimensions(const int64_t *shape, int rank) {
    return {shape, static_cast<size_t>(rank)};
}

std::vector<at::Tensor> values(lt_tensor *const *tensors, int count) {
    std::vector<at::Tensor> result;
    result.reserve(count);
    for (int i = 0; i < count; ++i) result.push_back(tensors[i]->value);
    return result;
}

template <typename Element>
int read_elements(const lt_tensor *tensor, at::ScalarType type, Element *out, size_t count) {
    return guarded_effect([&] {
        at::Tensor flat = tensor->value.detach().to(at::kCPU, type).contiguous();
        TORCH_CHECK(static_cast<size_t>(flat.numel()) == count, "reading ", count, " of ", flat.numel(), " elements");
        std::memcpy(out, flat.const_data_ptr(), count * sizeof(Element));
    });
}

}  // namespace

void onebit::set_last_error(const std::string &message, bool is_memory) {
    last_error = message;
    last_error_is_memory = is_memory;
}

at::ScalarType onebit::scalar_type(lt_type type) {
    switch (type) {
        case LT_FLOAT32: return at::kFloat;
        case LT_FLOAT16: return at::kHalf;
        case LT_BFLOAT16: return at::kBFloat16;
        case LT_INT64: return at::kLong;
        case LT_UINT8: return at::kByte;
    }
    TORCH_CHECK(false, "no element type ", static_cast<int>(type));
}

void onebit::throw_if_stopped() {
    if (lt_is_stopped()) throw std::runtime_error("stopped");
}

const char *lt_last_error(void) { return last_error.c_str(); }

bool lt_last_error_is_memory(void) { return last_error_is_memory; }

void lt_set_threads(int count) { at::set_num_threads(count); }

bool lt_set_gradient_recording(bool enabled) {
    bool previous = c10::GradMode::is_enabled();
    c10::GradMode::set_enabled(enabled);
    return previous;
}

void lt_set_stop_test(lt_stop_test test, void *context) {
    stop_test = test;
    stop_context = context;
}

bool lt_is_stopped(void) { return stop_test && stop_test(stop_context); }

namespace {

/// Zeros. Large ones in CPU memory are mapped by themselves: what lives as long as a model does would otherwise lie
/// scattered between the activations that come and go, and malloc could not give these back (losses.cpp).
at::Tensor storage(at::IntArrayRef shape, const at::TensorOptions &options) {
    constexpr size_t mapped_from = 256 << 10, huge_page = 2 << 20;
    size_t bytes = static_cast<size_t>(c10::multiply_integers(shape)) * options.dtype().itemsize();
    if (!options.device().is_cpu() || options.pinned_memory() || bytes < mapped_from) return at::zeros(shape, options);
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(memory != MAP_FAILED, "not enough memory for ", bytes, " bytes");
    if (bytes >= huge_page) madvise(memory, bytes, MADV_HUGEPAGE);
    return at::from_blob(memory, shape, [bytes](void *mapped) { munmap(mapped, bytes); }, options);
}

}  // namespace

// MARK: Handles, creation, reading

void lt_release(lt_tensor *tensor) { delete tensor; }

lt_tensor *lt_from_data(const void *data, lt_type type, const int64_t *shape, int rank, lt_device device) {
    return guarded_tensor([&] {
        // To a device the elements go from pinned memory, so that the call does not wait for the device's earlier work;
        // libtorch keeps the memory until the copy is done.
        at::TensorOptions host = options(type, {LT_CPU, 0}).pinned_memory(device.kind == LT_CUDA);
        at::Tensor result = storage(dimensions(shape, rank), host);
        std::memcpy(result.mutable_data_ptr(), data, result.nbytes());
        return result.to(options(type, device), /*non_blocking=*/device.kind == LT_CUDA);
    });
}

lt_tensor *lt_full(double value, lt_type type, const int64_t *shape, int rank, lt_device device) {
    return guarded_tensor([&] { return at::full(dimensions(shape, rank), value, options(type, device)); });
}

lt_tensor *lt_storage(lt_type type, const int64_t *shape, int rank, lt_device device) {
    return guarded_tensor([&] { return storage(dimensions(shape, rank), options(type, device)); });
}

lt_tensor *lt_randn(lt_type type, const int64_t *shape, int rank, lt_device device, lt_generator *generator) {
    return guarded_tensor([&] {
        return at::randn(dimensions(shape, rank), generator->value, options(LT_FLOAT32, {LT_CPU, 0}))
            .to(options(type, device));
    });
}

lt_tensor *lt_causal_mask(lt_type type, int64_t length, int64_t start, int64_t window, lt_device device) {
    return guarded_tensor([&] {
        at::Tensor columns = at::arange(start + length, options(LT_INT64, device));
        at::Tensor positions = at::arange(start, start + length, options(LT_INT64, device)).unsqueeze(-1);
        at::Tensor hidden = columns.gt(positions).logical_or_(columns.le(positions - window));
        return at::zeros({length, start + length}, options(type, device))
            .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
    });
}

lt_tensor *lt_window_mask(lt_type type, const lt_tensor *last, int64_t count, int64_t window) {
    return guarded_tensor([&] {
        at::Tensor columns = at::arange(count, last->value.options());
        at::Tensor rows = last->value.view({-1, 1, 1, 1});
        at::Tensor hidden = columns.gt(rows).logical_or_(columns.le(rows - window));
        return at::zeros(hidden.sizes(), last->value.options().dtype(onebit::scalar_type(type)))
            .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
    });
}

lt_tensor *lt_to(const lt_tensor *tensor, lt_type type, lt_device device) {
    return guarded_tensor([&] { return tensor->value.to(options(type, device)); });
}

lt_type lt_type_of(const lt_tensor *tensor) {
    switch (tensor->value.scalar_type()) {
        case at::kHalf: return LT_FLOAT16;
        case at::kBFloat16: return LT_BFLOAT16;
        case at::kLong: return LT_INT64;
        case at::kByte: return LT_UINT8;
        default: return LT_FLOAT32;
    }
}

lt_device lt_device_of(const lt_tensor *tensor) {
    at::Device device = tensor->value.device();
    lt_device_kind kind = device.is_cuda() ? LT_CUDA : device.is_meta() ? LT_META : LT_CPU;
    return {kind, device.has_index() ? device.index() : 0};
}

int lt_read_floats(const lt_tensor *tensor, float *out, size_t count) {
    return read_elements(tensor, at::kFloat, out, count);
}

int lt_read_integers(const lt_tensor *tensor, int64_t *out, size_t count) {
    return read_elements(tensor, at::kLong, out, count);
}

lt_tensor *lt_contiguous(const lt_tensor *tensor) {
    return guarded_tensor([&] { return tensor->value.detach().to(at::kCPU).contiguous(); });
}

const void *lt_bytes(const lt_tensor *tensor) {
    const at::Tensor &value = tensor->value;
    return value.is_cpu() && value.is_contiguous() ? value.const_data_ptr() : nullptr;
}

int lt_is_finite(const lt_tensor *tensor, bool *result) {
    return guarded_effect([&] { *result = at::isfinite(tensor->value.detach()).all().item<bool>(); });
}

int lt_rank(const lt_tensor *tensor) { return static_cast<int>(tensor->value.dim()); }

int64_t lt_size(const lt_tensor *tensor, int dimension) {
    return guarded(int64_t{-1}, [&] { return tensor->value.size(dimension); });
}

int64_t lt_element_count(const lt_tensor *tensor) { return tensor->value.numel(); }

int lt_write(lt_tensor *tensor, int dimension, int64_t start, const lt_tensor *source) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        at::Tensor place = tensor->value.narrow(dimension, start, source->value.size(dimension));
        TORCH_CHECK(place.sizes() == source->value.sizes(), "writing ", source->value.sizes(), " over ", place.sizes());
        place.copy_(source->value);
    });
}

int lt_write_rows(lt_tensor *tensor, const lt_tensor *slots, const lt_tensor *positions, const lt_tensor *source) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        // Heads between the two indices: [rows, heads, size] is what such an assignment takes.
        tensor->value.transpose(1, 2).index_put_({slots->value, positions->value}, source->value);
    });
}

int lt_clear(lt_tensor *tensor) {
    return guarded_effect([&] { tensor->value.zero_(); });
}

int lt_accumulate(lt_tensor *tensor, const lt_tensor *source) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        TORCH_CHECK(tensor->value.sizes() == source->value.sizes(), "adding ", source->value.sizes(), " to ",
                    tensor->value.sizes());
        tensor->value.add_(source->value);
    });
}

lt_generator *lt_generator_new(uint64_t seed) {
    return guarded(static_cast<lt_generator *>(nullptr), [&] {
        return new lt_generator{at::make_generator<at::CPUGeneratorImpl>(seed)};
    });
}

void lt_generator_release(lt_generator *generator) { delete generator; }

// MARK: Shape

lt_tensor *lt_reshape(const lt_tensor *tensor, const int64_t *shape, int rank) {
    return guarded_tensor([&] { return tensor->value.reshape(dimensions(shape, rank)); });
}

lt_tensor *lt_transpose(const lt_tensor *tensor, int first, int second) {
    return guarded_tensor([&] { return tensor->value.transpose(first, second); });
}

lt_tensor *lt_narrow(const lt_tensor *tensor, int dimension, int64_t start, int64_t length) {
    return guarded_tensor([&] { return tensor->value.narrow(dimension, start, length); });
}

lt_tensor *lt_index_select(const lt_tensor *tensor, int dimension, const lt_tensor *indices) {
    return guarded_tensor([&] { return tensor->value.index_select(dimension, indices->value); });
}

lt_tensor *lt_concatenate(lt_tensor *const *tensors, int count, int dimension) {
    return guarded_tensor([&] { return at::cat(values(tensors, count), dimension); });
}

lt_tensor *lt_stack(lt_tensor *const *tensors, int count) {
    return guarded_tensor([&] { return at::stack(values(tensors, count)); });
}

lt_tensor *lt_detach(const lt_tensor *tensor) {
    return guarded_tensor([&] { return tensor->value.detach(); });
}

// MARK: Arithmetic

lt_tensor *lt_add(const lt_tensor *a, const lt_tensor *b) {
    return guarded_tensor([&] { return a->value + b->value; });
}

lt_tensor *lt_subtract(const lt_tensor *a, const lt_tensor *b) {
    return guarded_tensor([&] { return a->value - b->value; });
}

lt_tensor *lt_multiply(const lt_tensor *a, const lt_tensor *b) {
    return guarded_tensor([&] { return a->value * b->value; });
}

lt_tensor *lt_scale(const lt_tensor *a, double factor) {
    return guarded_tensor([&] { return a->value * factor; });
}

lt_tensor *lt_sum(const lt_tensor *a) {
    return guarded_tensor([&] { return a->value.sum(); });
}

lt_tensor *lt_sum_rows(const lt_tensor *a) {
    return guarded_tensor([&] {
        const at::Tensor &rows = a->value;
        if (rows.size(0) == 1) return rows.select(0, 0).to(at::kFloat);
        at::Tensor sum = rows.select(0, 0).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
        for (int64_t row = 1; row < rows.size(0); ++row) sum.add_(rows.select(0, row));
        return sum;
    });
}

// MARK: Decoding

lt_tensor *lt_log_softmax(const lt_tensor *logits) {
    return guarded_tensor([&] { return at::log_softmax(logits->value, -1); });
}

lt_tensor *lt_take(const lt_tensor *tensor, const lt_tensor *indices) {
    return guarded_tensor([&] { return tensor->value.take(indices->value); });
}

lt_tensor *lt_argmax(const lt_tensor *logits) {
    return guarded_tensor([&] { return logits->value.argmax(-1); });
}
