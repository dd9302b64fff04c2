// Products with matrices that are stored in float. A template, as float_kernels.h says; include that file before it.

INLINE void widen_float32(const void *x, v16f *y) { memcpy(y, x, sizeof *y); }
INLINE void widen_float16(const void *x, v16f *y) {
    v16u16 halves;
    memcpy(&halves, x, sizeof halves);
    widen_lanes(&halves, y);
}
INLINE void widen_bfloat16(const void *x, v16f *y) {
    v16u16 halves;
    memcpy(&halves, x, sizeof halves);
    *y = (v16f)(__builtin_convertvector(halves, v16u) << 16);
}
INLINE void widen_int8(const void *x, v16f *y) {
    v16i8 bytes;
    memcpy(&bytes, x, sizeof bytes);
    *y = __builtin_convertvector(__builtin_convertvector(bytes, v16i), v16f);
}

// Rows that stay in the second-level cache while all tokens pass over them.
enum { float_row_block = 16 };

#define JOIN_NAMES(name, type) name##_##type
#define JOIN(name, type) JOIN_NAMES(name, type)
#define NAMED(name) JOIN(name, WEIGHT)

#define WEIGHT float32
#define WEIGHT_BYTES 4
#include "float_product.h"

#define WEIGHT float16
#define WEIGHT_BYTES 2
#include "float_product.h"

#define WEIGHT bfloat16
#define WEIGHT_BYTES 2
#include "float_product.h"

#undef NAMED
#undef JOIN
#undef JOIN_NAMES

static void KERNEL(float_product)(const void *weights, sign_kernels_float_type type, size_t columns, size_t row_begin,
                                  size_t row_end, const float *x, size_t input_stride, size_t tokens, float *y,
                                  size_t output_stride) {
    switch (type) {
    case SIGN_KERNELS_FLOAT32:
        float_product_float32(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_FLOAT16:
        float_product_float16(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_BFLOAT16:
        float_product_bfloat16(weights, columns, row_begin, row_end, x, input_stride, tokens, y, output_stride);
        return;
    case SIGN_KERNELS_INT8: __builtin_trap();  // int8_product's
    }
}

INLINE void widen_array_int8(const int8_t *x, size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = x[i];
}

static void KERNEL(widen)(const void *x, sign_kernels_float_type type, size_t count, float *y) {
    switch (type) {
    case SIGN_KERNELS_FLOAT32: widen_array_float32(x, count, y); return;
    case SIGN_KERNELS_FLOAT16: widen_array_float16(x, count, y); return;
    case SIGN_KERNELS_BFLOAT16: widen_array_bfloat16(x, count, y); return;
    case SIGN_KERNELS_INT8: widen_array_int8(x, count, y); return;
    }
}

static void KERNEL(narrow_float16)(const float *x, size_t count, uint16_t *y) {
    for (size_t i = 0; i < count; i += lanes) {
        const size_t width = count - i < lanes ? count - i : lanes;
        v16f values;
        if (width == lanes) load(x + i, &values);
        else load_tail(x + i, width, &values);
        v16u16 halves;
        narrow_lanes(&values, &halves);
        if (width == lanes) memcpy(y + i, &halves, sizeof halves);
        else copy_tail_bytes((const uint8_t *)&halves, width * sizeof *y, (uint8_t *)(y + i));
    }
}
