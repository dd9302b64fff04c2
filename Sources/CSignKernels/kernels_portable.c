// The version that every CPU can run.

#include <math.h>
#include <string.h>

#include "kernel_tables.h"
#include "sign_product.h"

#define KERNEL(name) name##_portable
#define KERNEL_NAME "portable"
#define SIGN_PRODUCT_INT16 sign_kernels_product_int16_1x1__portable
#define SIGN_PRODUCT_INT8 sign_kernels_product_int8_1x1__portable

// The fields of an fp16 value, moved into a float's places, are that value times 2^−112, subnormals included.
// Infinity and NaN have the exponent 31 and need a float's 255.
#define WIDEN_FLOAT16(halves, floats)                                                            \
    do {                                                                                         \
        const v16u wide = __builtin_convertvector(*(halves), v16u);                              \
        const v16f magnitude = (v16f)((wide & 0x7fffu) << 13) * 0x1p112f;                        \
        const v16u special = (v16u)((wide & 0x7c00u) == 0x7c00u) & 0x7f800000u;                  \
        *(floats) = (v16f)((v16u)magnitude | special | (wide & 0x8000u) << 16);                  \
    } while (0)

#include "float_kernels.h"
