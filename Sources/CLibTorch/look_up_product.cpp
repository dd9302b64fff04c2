#include "look_up_product.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string_view>

#include "parallel.h"
#include "row_kernels.h"

namespace {

using onebit::kernels;

/// Rows of the input that a thread takes at a time: their look-up tables stay in its second-level cache.
constexpr int64_t block_rows = onebit::rows_of_block;

int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int64_t tile_count(int64_t rows) {
    int64_t tile_rows = static_cast<int64_t>(kernels().layout->tile_rows);
    return (rows + tile_rows - 1) / tile_rows;
}

/// Memory of one thread, kept between calls.
struct Scratch {
    at::Tensor storage;

    /// At least `bytes`, aligned.
    uint8_t *of(int64_t bytes) {
        if (!storage.defined() || storage.numel() < bytes) storage = at::empty({bytes}, at::kByte);
        return storage.mutable_data_ptr<uint8_t>();
    }
};

/// Rows of the 8 × 8 bit matrix as bytes, least significant first; the result's are its columns (Warren, Hacker's Delight,
/// 7-3).
uint64_t transposed8(uint64_t x) {
    uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
    return x ^ t ^ (t << 28);
}

}  // namespace

bool onebit::has_look_up_product(int64_t rows, int64_t columns) {
    // Look-up tables cost as much for few rows as for many (Zen 5, one thread, 576 columns: 0.6 µs a token where a float
    // product of 192 rows takes 0.9), and the kernels read whole tiles.
    constexpr int64_t fewest_rows = 192, fewest_columns = 48;
    return rows >= fewest_rows && columns >= fewest_columns && columns <= SIGN_KERNELS_MAXIMUM_COLUMNS &&
           std::string_view(kernels().name) != "portable";
}

onebit::LookUpMatrix onebit::look_up_matrix(const at::Tensor &bits, int64_t columns) {
    const sign_kernels_layout &layout = *kernels().layout;
    int64_t rows = bits.size(0), tiles = tile_count(rows);
    auto byte_count = static_cast<int64_t>(layout.byte_count(rows, columns, tiles));
    at::Tensor bytes = at::empty({byte_count}, bits.options());
    const sign_kernels_matrix matrix = {static_cast<const uint8_t *>(bits.const_data_ptr()),
                                        static_cast<size_t>(bits.size(1)), static_cast<size_t>(rows),
                                        static_cast<size_t>(columns)};
    uint8_t *packed = bytes.mutable_data_ptr<uint8_t>();
    onebit::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) { layout.pack(matrix, begin, end, packed); });
    return {bytes, rows, columns};
}

at::Tensor onebit::transposed_bits(const at::Tensor &bits, int64_t columns) {
    int64_t rows = bits.size(0), row_bytes = bits.size(1), out_bytes = (rows + 7) / 8;
    at::Tensor result = at::empty({columns, out_bytes}, bits.options());
    const auto *in = static_cast<const uint8_t *>(bits.const_data_ptr());
    uint8_t *out = result.mutable_data_ptr<uint8_t>();
    onebit::parallel_for(0, out_bytes, 8, [&](int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
            int64_t first = 8 * group, count = std::min<int64_t>(8, rows - first);
            for (int64_t byte = 0; byte < row_bytes; ++byte) {
                uint64_t block = 0;
                for (int64_t i = 0; i < count; ++i) {
                    block |= static_cast<uint64_t>(in[(first + i) * row_bytes + byte]) << (8 * i);
                }
                block = transposed8(block);
                int64_t width = std::min<int64_t>(8, columns - 8 * byte);
                for (int64_t j = 0; j < width; ++j) {
                    out[(8 * byte + j) * out_bytes + group] = static_cast<uint8_t>(block >> (8 * j));
                }
            }
        }
    });
    return result;
}

at::Tensor onebit::look_up_product(const at::Tensor &x, const at::Tensor &g, const LookUpMatrix &matrix,
                                   c10::function_ref<void(int64_t, int64_t, int64_t)> prepare,
                                   c10::function_ref<void(int64_t, int64_t, int64_t, float *)> finish) {
    const sign_kernels_table &table = kernels();
    int64_t tokens = x.size(0), columns = matrix.columns, rows = matrix.rows, tiles = tile_count(rows);
    int64_t tile_rows = static_cast<int64_t>(table.layout->tile_rows);
    at::Tensor result = at::empty({tokens, rows}, x.options());
    at::Tensor ones = at::ones({rows}, x.options());
    const float *from = read(x), *scale = read(g), *one = read(ones);
    float *to = write(result);

    // Several tiles of a few rows are read together, so that a part is some hundred rows.
    int64_t part = std::max<int64_t>(1, 256 / tile_rows), part_rows = part * tile_rows;
    int64_t padded = rounded_up(columns, SIGN_KERNELS_INPUT_PADDING);
    // An odd multiple of half a page: what several rows read at the same time lies in different sets of the first-level cache.
    auto lut_stride = rounded_up(static_cast<int64_t>(table.lut_bytes_16bit(columns)), 4096) + 2048;
    size_t quads = (columns + 4 * table.layout->group_columns - 1) / (4 * table.layout->group_columns);
    const sign_kernels_packed_matrix packed = {static_cast<const uint8_t *>(matrix.bytes.const_data_ptr()),
                                               static_cast<size_t>(rows), static_cast<size_t>(columns)};

    for_blocks(tokens, [&](int64_t block, int64_t first, int64_t count) {
        thread_local Scratch lut_scratch, integer_scratch, sum_scratch;
        uint8_t *luts = lut_scratch.of(block_rows * lut_stride);
        auto *q = reinterpret_cast<int16_t *>(integer_scratch.of(padded * 2));
        auto *sums = reinterpret_cast<int32_t *>(sum_scratch.of(block_rows * part_rows * 4));
        sign_kernels_quantized quantized[block_rows];
        prepare(block, first, count);
        for (int64_t i = 0; i < count; ++i) {
            quantized[i] = table.quantize_16bit(from + (first + i) * columns, scale, columns, q, padded);
            table.build_luts_16bit(q, &quantized[i], 0, quads, luts + i * lut_stride);
        }
        for (int64_t tile = 0; tile < tiles; tile += part) {
            int64_t last = std::min(tile + part, tiles), row = tile * tile_rows;
            int64_t width = std::min(last * tile_rows, rows) - row;
            table.sign_product_16bit(packed, tile, last, luts, lut_stride, quantized, count, sums, width);
            for (int64_t i = 0; i < count; ++i) {
                table.dequantize(sums + i * width, quantized[i].scale, one + row, width, to + (first + i) * rows + row);
            }
        }
        finish(block, first, count, to + first * rows);
    });
    return result;
}
