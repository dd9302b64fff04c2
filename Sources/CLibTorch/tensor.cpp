// Handles, shapes, arithmetic: one call of libtorch each.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cstring>
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

at::ScalarType scalar_type(lt_type type) {
    switch (type) {
        case LT_FLOAT32: return at::kFloat;
        case LT_FLOAT16: return at::kHalf;
        case LT_BFLOAT16: return at::kBFloat16;
        case LT_INT64: return at::kLong;
    }
    throw std::invalid_argument("unknown element type");
}

at::IntArrayRef dimensions(const int64_t *shape, int rank) {
    return {shape, static_cast<size_t>(rank)};
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

void onebit::set_last_error(const std::string &message) { last_error = message; }

const char *lt_last_error(void) { return last_error.c_str(); }

void lt_set_threads(int count) { at::set_num_threads(count); }

bool lt_set_gradient_recording(bool enabled) {
    bool previous = c10::GradMode::is_enabled();
    c10::GradMode::set_enabled(enabled);
    return previous;
}

// MARK: Handles, creation, reading

void lt_release(lt_tensor *tensor) { delete tensor; }

lt_tensor *lt_from_data(const void *data, lt_type type, const int64_t *shape, int rank) {
    return guarded_tensor([&] {
        at::Tensor result = at::empty(dimensions(shape, rank), at::TensorOptions().dtype(scalar_type(type)));
        std::memcpy(result.mutable_data_ptr(), data, result.nbytes());
        return result;
    });
}

lt_tensor *lt_zeros(lt_type type, const int64_t *shape, int rank) {
    return guarded_tensor([&] {
        return at::zeros(dimensions(shape, rank), at::TensorOptions().dtype(scalar_type(type)));
    });
}

lt_tensor *lt_randn(const int64_t *shape, int rank, lt_generator *generator) {
    return guarded_tensor([&] { return at::randn(dimensions(shape, rank), generator->value); });
}

int lt_read_floats(const lt_tensor *tensor, float *out, size_t count) {
    return read_elements(tensor, at::kFloat, out, count);
}

int lt_read_integers(const lt_tensor *tensor, int64_t *out, size_t count) {
    return read_elements(tensor, at::kLong, out, count);
}

int lt_rank(const lt_tensor *tensor) { return static_cast<int>(tensor->value.dim()); }

int64_t lt_size(const lt_tensor *tensor, int dimension) {
    return guarded(int64_t{-1}, [&] { return tensor->value.size(dimension); });
}

int64_t lt_element_count(const lt_tensor *tensor) { return tensor->value.numel(); }

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

lt_tensor *lt_repeat_interleave(const lt_tensor *tensor, int64_t times, int dimension) {
    return guarded_tensor([&] { return tensor->value.repeat_interleave(times, dimension); });
}

lt_tensor *lt_detach(const lt_tensor *tensor) {
    return guarded_tensor([&] { return tensor->value.detach(); });
}

lt_tensor *lt_clone(const lt_tensor *tensor) {
    return guarded_tensor([&] { return tensor->value.clone(); });
}

int lt_copy(lt_tensor *tensor, const lt_tensor *source) {
    return guarded_effect([&] {
        TORCH_CHECK(tensor->value.sizes() == source->value.sizes(), "copying ", source->value.sizes(), " over ",
                    tensor->value.sizes());
        c10::NoGradGuard unrecorded;
        tensor->value.copy_(source->value);
    });
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

int lt_item(const lt_tensor *a, double *out) {
    return guarded_effect([&] { *out = a->value.item().toDouble(); });
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

lt_tensor *lt_sample(const lt_tensor *logits, lt_generator *generator) {
    return guarded_tensor([&] {
        return at::multinomial(at::softmax(logits->value, -1, at::kFloat), 1, false, generator->value).squeeze(-1);
    });
}
