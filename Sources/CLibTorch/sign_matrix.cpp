// Sign matrices, and the OneBit layer that computes with them.

#include "sign_matrix.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstring>
#include <utility>

#include "device_kernels.h"
#include "handle.h"
#include "parallel.h"
#include "products.h"
#include "row_kernels.h"

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

/// Rows x ⊙ scale, in the type of x.
at::Tensor scaled(const at::Tensor &x, const at::Tensor &scale) {
    return onebit::device_kernels::know({x}) ? onebit::device_kernels::scaled(x, scale) : (x * scale).to(x.scalar_type());
}

/// The OneBit layer (paper eq. 3): Y = ((X ⊙ g) signs(W)ᵀ) ⊙ h, Z = LayerNorm(Y).
///
/// With y₀ = (X ⊙ g) signsᵀ and u = (dY ⊙ h) signs, the gradients need the signs and no matrix of the weights' size:
///   dX = u ⊙ g,   dg = Σ_rows X ⊙ u,   dh = Σ_rows dY ⊙ y₀,
/// but for P = dYᵀ X, of which the owner of W makes dW = P ⊙ (h gᵀ) ⊙ sign′(W). P is the gradient of `product`, which
/// takes no part in the forward pass. Everything but the three matrix products is computed in float32.
struct SignLinear : torch::autograd::Function<SignLinear> {
    /// What the backward pass needs besides what exists anyway.
    struct Recorded {
        /// y₀ [rows, out], and with a LayerNorm r, 1 / the standard deviation of each row.
        at::Tensor unscaled, reciprocal_deviation;
    };

    /// Z, in the type of X.
    static at::Tensor output(const at::Tensor &x, const at::Tensor &input_scale, const at::Tensor &output_scale,
                             const SignMatrix &signs, double layer_norm_epsilon, bool by_look_ups, Recorded *recorded) {
        onebit::throw_if_stopped();
        at::ScalarType type = x.scalar_type();
        std::vector<int64_t> shape = x.sizes().vec();
        shape.back() = signs.rows();
        bool has_layer_norm = layer_norm_epsilon >= 0;
        if (!x.is_cpu() || type != at::kFloat) {
            at::Tensor unscaled = onebit::product_transposed(scaled(rows_of(x), input_scale), signs.unpacked(type));
            if (!has_layer_norm) {
                if (recorded) *recorded = {unscaled, at::Tensor()};
                return scaled(unscaled, output_scale).view(shape);
            }
            at::Tensor y = unscaled.view(shape) * output_scale, reciprocal_deviation;
            std::tie(y, std::ignore, reciprocal_deviation) =
                at::native_layer_norm(y, {y.size(-1)}, {}, {}, layer_norm_epsilon);
            if (recorded) *recorded = {unscaled, reciprocal_deviation};
            return y.to(type);
        }
        at::Tensor rows = onebit::plain_floats(rows_of(x)), h = onebit::plain_floats(output_scale);
        at::Tensor y, reciprocal_deviation;
        if (recorded) y = at::empty({rows.size(0), signs.rows()}, rows.options());
        if (has_layer_norm) reciprocal_deviation = at::empty({rows.size(0), 1}, rows.options());
        int64_t width = signs.rows();
        at::Tensor unscaled = signs.product(
            rows, onebit::plain_floats(input_scale), /*transposed=*/false, by_look_ups,
            [](int64_t, int64_t, int64_t) {},
            [&](int64_t, int64_t first, int64_t count, float *from) {
                for (int64_t row = first; row < first + count; ++row, from += width) {
                    float *to = recorded ? onebit::write(y) + row * width : from;
                    onebit::kernels().scale(from, onebit::read(h), width, to);
                    if (!has_layer_norm) continue;
                    onebit::write(reciprocal_deviation)[row] =
                        onebit::kernels().layer_norm(to, width, static_cast<float>(layer_norm_epsilon), to);
                }
            });
        if (!recorded) return unscaled.view(shape);
        *recorded = {unscaled, reciprocal_deviation};
        return y.view(shape);
    }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &input_scale,
                              const at::Tensor &output_scale, const std::optional<at::Tensor> &product,
                              const Signs &signs, double layer_norm_epsilon, bool by_look_ups) {
        Recorded recorded;
        at::Tensor z = output(x, input_scale, output_scale, *signs, layer_norm_epsilon, by_look_ups, &recorded);
        context->save_for_backward({x, input_scale, output_scale, recorded.unscaled,
                                    layer_norm_epsilon >= 0 ? z : at::Tensor(), recorded.reciprocal_deviation});
        context->saved_data["has_product"] = product.has_value();
        context->saved_data["by_look_ups"] = by_look_ups;
        context->saved_data["signs"] = c10::IValue::make_capsule(signs);
        return z;
    }

    static variable_list backward(AutogradContext *context, variable_list upstream) {
        onebit::throw_if_stopped();
        variable_list saved = context->get_saved_variables();
        auto signs = c10::static_intrusive_pointer_cast<SignMatrix>(context->saved_data["signs"].toCapsule());
        bool wants_product = context->saved_data["has_product"].toBool() && context->needs_input_grad(3);
        const at::Tensor &x = saved[0];
        variable_list gradients = x.is_cpu() && x.scalar_type() == at::kFloat
                                      ? by_rows(context, saved, *signs, upstream[0], wants_product)
                                      : by_tensors(context, saved, *signs, upstream[0], wants_product);
        gradients.resize(7);
        return gradients;
    }

    /// The gradients by x, g, h and the product, on any device and in any type.
    static variable_list by_tensors(AutogradContext *context, const variable_list &saved, const SignMatrix &signs,
                                    const at::Tensor &upstream, bool wants_product) {
        const at::Tensor &x = saved[0], &input_scale = saved[1], &output_scale = saved[2], &unscaled = saved[3];
        at::ScalarType type = x.scalar_type();
        if (at::Tensor dy = rows_of(upstream).contiguous(), rows = rows_of(x);
            !saved[5].defined() && onebit::device_kernels::know({dy, unscaled}) && onebit::device_kernels::know({dy, rows})) {
            return by_kernels(rows, input_scale, output_scale, unscaled, signs, dy, x.sizes(), wants_product);
        }
        at::Tensor dy = upstream.to(at::kFloat);
        if (saved[5].defined()) {
            // Z = (Y − mean) · r per row: dY = r (dZ − mean(dZ) − Z mean(dZ ⊙ Z)).
            const at::Tensor &z = saved[4], &reciprocal_deviation = saved[5];
            at::Tensor centered = dy - dy.mean(-1, true);
            dy = centered.sub_(z * (dy * z).mean(-1, true)).mul_(reciprocal_deviation);
        }
        at::Tensor rows_of_dy = rows_of(dy), rows_of_x = rows_of(x);
        variable_list result(4);
        if (context->needs_input_grad(0) || context->needs_input_grad(1)) {
            at::Tensor u = onebit::product((rows_of_dy * output_scale).to(type), signs.unpacked(type));
            if (context->needs_input_grad(0)) result[0] = (u * input_scale).to(type).view(x.sizes());
            if (context->needs_input_grad(1)) result[1] = (rows_of_x * u).sum(0, false, at::kFloat);
        }
        if (context->needs_input_grad(2)) result[2] = (rows_of_dy * unscaled).sum(0, false, at::kFloat);
        // Becomes of the leaf's type.
        if (wants_product) result[3] = onebit::product(rows_of_dy.to(type).t(), rows_of_x);
        return result;
    }

    /// The same by a device's kernels, without a LayerNorm.
    static variable_list by_kernels(const at::Tensor &x, const at::Tensor &input_scale, const at::Tensor &output_scale,
                                    const at::Tensor &unscaled, const SignMatrix &signs, const at::Tensor &dy,
                                    at::IntArrayRef shape, bool wants_product) {
        auto [scaled_dy, by_output_scale] = onebit::device_kernels::scaled_and_summed(dy, output_scale, unscaled);
        at::Tensor u = onebit::product(scaled_dy, signs.unpacked(x.scalar_type()));
        auto [by_x, by_input_scale] = onebit::device_kernels::scaled_and_summed(u, input_scale, x);
        variable_list result = {by_x.view(shape), by_input_scale, by_output_scale, at::Tensor()};
        // Becomes of the leaf's type.
        if (wants_product) result[3] = onebit::product(dy.t(), x);
        return result;
    }

    /// The same of CPU floats.
    static variable_list by_rows(AutogradContext *context, const variable_list &saved, const SignMatrix &signs,
                                 const at::Tensor &upstream, bool wants_product) {
        const sign_kernels_table &kernels = onebit::kernels();
        at::Tensor x = onebit::plain_floats(rows_of(saved[0])), dz = onebit::plain_floats(rows_of(upstream));
        at::Tensor g = onebit::plain_floats(saved[1]), h = onebit::plain_floats(saved[2]);
        const at::Tensor &unscaled = saved[3], &z = saved[4], &reciprocal_deviation = saved[5];
        int64_t rows = x.size(0), in = x.size(1), out = dz.size(1);
        at::Tensor dy = z.defined() ? at::empty_like(dz) : dz;
        onebit::BlockSums dg(rows, in, context->needs_input_grad(1)), dh(rows, out, context->needs_input_grad(2));
        auto prepare = [&](int64_t block, int64_t first, int64_t count) {
            for (int64_t row = first; row < first + count; ++row) {
                if (z.defined()) {
                    kernels.layer_norm_gradient(onebit::read(dz) + row * out, onebit::read(z) + row * out,
                                                onebit::read(reciprocal_deviation)[row], out,
                                                onebit::write(dy) + row * out);
                }
                if (float *sum = dh.of(block)) {
                    kernels.add_product(onebit::read(dy) + row * out, onebit::read(unscaled) + row * out, out, sum);
                }
            }
        };
        auto finish = [&](int64_t block, int64_t first, int64_t count, float *u) {
            for (int64_t row = first; row < first + count; ++row, u += in) {
                if (float *sum = dg.of(block)) kernels.add_product(onebit::read(x) + row * in, u, in, sum);
                kernels.scale(u, onebit::read(g), in, u);
            }
        };
        variable_list result(4);
        if (context->needs_input_grad(0) || context->needs_input_grad(1)) {
            result[0] = signs
                            .product(dy, h, /*transposed=*/true, context->saved_data["by_look_ups"].toBool(), prepare,
                                     finish)
                            .view(saved[0].sizes());
        } else {
            onebit::for_blocks(rows, prepare);
        }
        result[1] = dg.total();
        result[2] = dh.total();
        if (wants_product) result[3] = onebit::product(dy.t(), x);
        return result;
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
    onebit::parallel_for(0, rows, 1 + (1 << 16) / std::max<int64_t>(1, columns), [&](int64_t begin, int64_t end) {
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
        onebit::parallel_for(0, rows(), 1 + (1 << 16) / columns, [&](int64_t begin, int64_t end) {
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
    if (onebit::device_kernels::know_bits(bits, columns)) return onebit::device_kernels::unpacked_signs(bits, type);
    at::Tensor negative = bits.unsqueeze(-1).bitwise_and(bit_values(bits.device())).ne(0);
    at::TensorOptions options = bits.options().dtype(type);
    return at::where(negative, at::full({}, -1, options), at::full({}, 1, options))
        .reshape({rows(), -1})
        .narrow(1, 0, columns);
}

at::Tensor SignMatrix::product(const at::Tensor &x, const at::Tensor &scale, bool transposed, bool by_look_ups,
                               Prepare prepare, Finish finish) const {
    int64_t out = transposed ? columns : rows(), in = transposed ? rows() : columns;
    if (by_look_ups && onebit::has_look_up_product(out, in)) {
        LookUpMatrix &matrix = transposed ? transposed_look_up : look_up;
        std::call_once(transposed ? has_transposed_look_up : has_look_up, [&] {
            matrix = onebit::look_up_matrix(transposed ? onebit::transposed_bits(bits, columns) : bits, in);
        });
        return onebit::look_up_product(x, scale, matrix, prepare, finish);
    }
    onebit::for_blocks(x.size(0), prepare);
    at::Tensor scaled = x * scale, numbers = unpacked(at::kFloat);
    at::Tensor y = transposed ? onebit::product(scaled, numbers) : onebit::product_transposed(scaled, numbers);
    onebit::for_blocks(y.size(0), [&](int64_t block, int64_t first, int64_t count) {
        finish(block, first, count, onebit::write(y) + first * out);
    });
    return y;
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
        if (!c10::GradMode::is_enabled()) {
            return SignLinear::output(x->value, input_scale->value, output_scale->value, *signs->value,
                                      layer_norm_epsilon, products == LT_PRODUCTS_FASTEST, nullptr);
        }
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
