// Sign matrices, and the OneBit layer that computes with them.

#include "sign_matrix.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstring>
#include <utility>

#include "handle.h"
#include "products.h"

using onebit::guarded;
using onebit::guarded_effect;
using onebit::guarded_tensor;
using onebit::SignMatrix;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

using Signs = c10::intrusive_ptr<SignMatrix>;

constexpr int64_t byte_bits = 8;

using SignsOfByte = std::array<std::array<float, byte_bits>, 256>;

/// The eight signs of every byte.
const SignsOfByte signs_of_byte = [] {
    SignsOfByte table;
    for (int byte = 0; byte < 256; ++byte) {
        for (int j = 0; j < byte_bits; ++j) table[byte][j] = byte >> j & 1 ? -1 : 1;
    }
    return table;
}();

/// 1, 2, 4, …, 128.
at::Tensor bit_values(at::Device device) {
    return at::pow(2, at::arange(byte_bits, at::TensorOptions().device(device))).to(at::kByte);
}

at::Tensor rows_of(const at::Tensor &x) { return x.reshape({-1, x.size(-1)}); }

/// The OneBit layer (paper eq. 3): Y = ((X ⊙ g) signs(W)ᵀ) ⊙ h, Z = LayerNorm(Y).
///
/// With y₀ = (X ⊙ g) signsᵀ and u = (dY ⊙ h) signs, the gradients need the signs and no matrix of the weights' size:
///   dX = u ⊙ g,   dg = Σ_rows X ⊙ u,   dh = Σ_rows dY ⊙ y₀,
/// but for P = dYᵀ X, of which the owner of W makes dW = P ⊙ (h gᵀ) ⊙ sign′(W). P is the gradient of `product`, which
/// takes no part in the forward pass. Everything but the three matrix products is computed in float32.
struct SignLinear : torch::autograd::Function<SignLinear> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &input_scale,
                              const at::Tensor &output_scale, const std::optional<at::Tensor> &product,
                              const Signs &signs, double layer_norm_epsilon, bool by_look_ups) {
        onebit::throw_if_stopped();
        at::ScalarType type = x.scalar_type();
        at::Tensor unscaled = signs->product(rows_of(x), input_scale, by_look_ups);  // y₀ [rows of x, out]
        std::vector<int64_t> shape = x.sizes().vec();
        shape.back() = signs->rows();
        at::Tensor y = unscaled.view(shape) * output_scale;
        at::Tensor reciprocal_deviation;
        if (layer_norm_epsilon >= 0) {
            std::tie(y, std::ignore, reciprocal_deviation) =
                at::native_layer_norm(y, {y.size(-1)}, {}, {}, layer_norm_epsilon);
        }
        y = y.to(type);
        context->save_for_backward({x, input_scale, output_scale, unscaled,
                                    reciprocal_deviation.defined() ? y : at::Tensor(), reciprocal_deviation});
        context->saved_data["has_product"] = product.has_value();
        context->saved_data["by_look_ups"] = by_look_ups;
        context->saved_data["signs"] = c10::IValue::make_capsule(signs);
        return y;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        const at::Tensor &x = saved[0], &input_scale = saved[1], &output_scale = saved[2], &unscaled = saved[3];
        auto signs = c10::static_intrusive_pointer_cast<SignMatrix>(context->saved_data["signs"].toCapsule());
        at::ScalarType type = x.scalar_type();
        at::Tensor dy = upstream[0].to(at::kFloat);
        if (saved[5].defined()) {
            // Z = (Y − mean) · r per row: dY = r (dZ − mean(dZ) − Z mean(dZ ⊙ Z)).
            const at::Tensor &z = saved[4], &reciprocal_deviation = saved[5];
            at::Tensor centred = dy - dy.mean(-1, true);
            dy = centred.sub_(z * (dy * z).mean(-1, true)).mul_(reciprocal_deviation);
        }
        at::Tensor rows_of_dy = rows_of(dy), rows_of_x = rows_of(x);
        at::Tensor dx, dinput_scale, doutput_scale, dproduct;
        if (context->needs_input_grad(0) || context->needs_input_grad(1)) {
            at::Tensor u = signs->transposed_product(
                rows_of_dy.to(type), output_scale, context->saved_data["by_look_ups"].toBool());  // [rows of x, in]
            if (context->needs_input_grad(0)) dx = (u * input_scale).to(type).view(x.sizes());
            if (context->needs_input_grad(1)) dinput_scale = (rows_of_x * u).sum(0, false, at::kFloat);
        }
        if (context->needs_input_grad(2)) doutput_scale = (rows_of_dy * unscaled).sum(0, false, at::kFloat);
        if (context->saved_data["has_product"].toBool() && context->needs_input_grad(3)) {
            dproduct = onebit::product(rows_of_dy.to(type).t(), rows_of_x);  // becomes of the leaf's type
        }
        return {dx, dinput_scale, doutput_scale, dproduct, at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

}  // namespace

at::Tensor onebit::packed_signs(const at::Tensor &latent) {
    TORCH_CHECK(latent.dim() == 2, "the signs of a tensor of shape ", latent.sizes());
    int64_t rows = latent.size(0), columns = latent.size(1), bytes = (columns + byte_bits - 1) / byte_bits;
    if (!latent.is_cpu() || latent.scalar_type() != at::kFloat) {
        at::Tensor negative = at::constant_pad_nd(latent.lt(0).to(at::kByte), {0, bytes * byte_bits - columns});
        return (negative.view({rows, bytes, byte_bits}) * bit_values(latent.device())).sum(-1, false, at::kByte);
    }
    at::Tensor source = latent.contiguous();
    at::Tensor bits = at::empty({rows, bytes}, latent.options().dtype(at::kByte));
    const float *weights = static_cast<const float *>(source.const_data_ptr());
    uint8_t *out = bits.mutable_data_ptr<uint8_t>();
    at::parallel_for(0, rows, 1 + (1 << 16) / std::max<int64_t>(1, columns), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const float *w = weights + row * columns;
            uint8_t *bytes_of_row = out + row * bytes;
            for (int64_t byte = 0; byte < columns / byte_bits; ++byte, w += byte_bits) {
                unsigned value = 0;
                for (int j = 0; j < byte_bits; ++j) value |= static_cast<unsigned>(w[j] < 0) << j;
                bytes_of_row[byte] = static_cast<uint8_t>(value);
            }
            if (int64_t left = columns % byte_bits) {
                unsigned value = 0;
                for (int j = 0; j < left; ++j) value |= static_cast<unsigned>(w[j] < 0) << j;
                bytes_of_row[bytes - 1] = static_cast<uint8_t>(value);
            }
        }
    });
    return bits;
}

at::Tensor SignMatrix::unpacked(at::ScalarType type) const {
    if (bits.is_cpu() && type == at::kFloat) {
        at::Tensor result = at::empty({rows(), columns}, bits.options().dtype(type));
        const auto *bytes = static_cast<const uint8_t *>(bits.const_data_ptr());
        int64_t row_bytes = bits.size(1);
        float *out = result.mutable_data_ptr<float>();
        at::parallel_for(0, rows(), 1 + (1 << 16) / columns, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                const uint8_t *in = bytes + row * row_bytes;
                float *to = out + row * columns;
                int64_t whole = columns / byte_bits;
                for (int64_t byte = 0; byte < whole; ++byte) {
                    std::memcpy(to + byte * byte_bits, signs_of_byte[in[byte]].data(), byte_bits * sizeof(float));
                }
                std::memcpy(to + whole * byte_bits, signs_of_byte[in[row_bytes - 1]].data(),
                            (columns - whole * byte_bits) * sizeof(float));
            }
        });
        return result;
    }
    at::Tensor negative = bits.unsqueeze(-1).bitwise_and(bit_values(bits.device())).ne(0);
    at::TensorOptions options = bits.options().dtype(type);
    return at::where(negative, at::full({}, -1, options), at::full({}, 1, options))
        .reshape({rows(), -1})
        .narrow(1, 0, columns);
}

at::Tensor SignMatrix::product(const at::Tensor &x, const at::Tensor &scale, bool by_look_ups) const {
    if (by_look_ups && x.is_cpu() && x.scalar_type() == at::kFloat && onebit::has_look_up_product(rows(), columns)) {
        std::call_once(has_look_up, [&] { look_up = onebit::look_up_matrix(bits, columns); });
        return onebit::look_up_product(x, scale, look_up);
    }
    at::ScalarType type = x.scalar_type();
    return onebit::product_transposed((x * scale).to(type), unpacked(type));
}

at::Tensor SignMatrix::transposed_product(const at::Tensor &x, const at::Tensor &scale, bool by_look_ups) const {
    if (by_look_ups && x.is_cpu() && x.scalar_type() == at::kFloat && onebit::has_look_up_product(columns, rows())) {
        std::call_once(has_transposed_look_up, [&] {
            transposed_look_up = onebit::look_up_matrix(onebit::transposed_bits(bits, columns), rows());
        });
        return onebit::look_up_product(x, scale, transposed_look_up);
    }
    at::ScalarType type = x.scalar_type();
    return onebit::product((x * scale).to(type), unpacked(type));
}

lt_sign_matrix *lt_signs_of(const lt_tensor *latent) {
    return guarded(static_cast<lt_sign_matrix *>(nullptr), [&] {
        c10::NoGradGuard unrecorded;
        at::Tensor bits = onebit::packed_signs(latent->value.detach());
        return new lt_sign_matrix{c10::make_intrusive<SignMatrix>(bits, latent->value.size(1))};
    });
}

lt_sign_matrix *lt_signs_from_bits(const lt_tensor *bits, int64_t columns) {
    return guarded(static_cast<lt_sign_matrix *>(nullptr), [&] {
        const at::Tensor &value = bits->value;
        TORCH_CHECK(value.dim() == 2 && value.scalar_type() == at::kByte && columns > 0 &&
                        value.size(1) == (columns + byte_bits - 1) / byte_bits,
                    "bits of shape ", value.sizes(), " for ", columns, " columns");
        return new lt_sign_matrix{c10::make_intrusive<SignMatrix>(value.contiguous(), columns)};
    });
}

void lt_signs_release(lt_sign_matrix *signs) { delete signs; }

lt_tensor *lt_signs_bits(const lt_sign_matrix *signs) {
    return guarded_tensor([&] { return signs->value->bits; });
}

lt_tensor *lt_signs_unpacked(const lt_sign_matrix *signs, lt_type type) {
    return guarded_tensor([&] { return signs->value->unpacked(onebit::scalar_type(type)).contiguous(); });
}

int lt_signs_turned(const lt_sign_matrix *before, const lt_sign_matrix *after, int64_t *count) {
    return guarded_effect([&] {
        TORCH_CHECK(before->value->bits.sizes() == after->value->bits.sizes(), "matrices of two shapes");
        at::Tensor turned = before->value->bits.bitwise_xor(after->value->bits).cpu();
        const uint8_t *bytes = static_cast<const uint8_t *>(turned.const_data_ptr());
        *count = 0;
        for (int64_t i = 0; i < turned.numel(); ++i) *count += __builtin_popcount(bytes[i]);
    });
}

lt_tensor *lt_sign_linear(const lt_tensor *x, const lt_sign_matrix *signs, const lt_tensor *input_scale,
                          const lt_tensor *output_scale, const lt_tensor *product, double layer_norm_epsilon,
                          lt_sign_products products) {
    return guarded_tensor([&] {
        return SignLinear::apply(x->value, input_scale->value, output_scale->value,
                                 product ? std::optional<at::Tensor>(product->value) : std::nullopt,
                                 signs->value, layer_norm_epsilon, products == LT_PRODUCTS_FASTEST);
    });
}

lt_tensor *lt_gradient_carrier(lt_type type, const int64_t *shape, int rank, lt_device device) {
    return guarded_tensor([&] {
        at::TensorOptions options = at::TensorOptions().dtype(onebit::scalar_type(type)).device(onebit::place(device));
        at::Tensor zero = at::zeros({}, options);
        return zero.expand({shape, static_cast<size_t>(rank)}).detach().set_requires_grad(true);
    });
}
