// Dense products in 32-bit floats, of weights that stay in their stored type. A template, compiled for each instruction set:
// a file that includes it sets the target, includes float_products.h and dense_kernels.h, and defines
//   DENSE(name), DENSE_LANES, TILE_ROWS, TILE_TOKENS   as dense_product.h says
//   WIDEN_FLOAT16(bytes, y)   DENSE_LANES fp16 values to floats
//   MULTIPLY_ADD(a, b, c)     c += a ⊙ b for vectors, rounded once where the CPU can: unlike the other kernels', the last
//                             bits of these products depend on the version

#define INPUT float
#define DENSE_COLUMNS DENSE_LANES
#define OPERAND DENSE(operand)
#define MULTIPLY_ADD_STEP MULTIPLY_ADD

typedef float OPERAND __attribute__((vector_size(DENSE_LANES * sizeof(float))));
typedef uint16_t DENSE(halves) __attribute__((vector_size(DENSE_LANES * sizeof(uint16_t))));
typedef uint32_t DENSE(words) __attribute__((vector_size(DENSE_LANES * sizeof(uint32_t))));

INLINE void WIDEN(const sign_kernels_float_type type, const uint8_t *bytes, OPERAND *y) {
    DENSE(halves) halves;
    switch (type) {
    case SIGN_KERNELS_FLOAT16: WIDEN_FLOAT16(bytes, y); break;
    case SIGN_KERNELS_BFLOAT16:
        memcpy(&halves, bytes, sizeof halves);
        *y = (OPERAND)(__builtin_convertvector(halves, DENSE(words)) << 16);
        break;
    default: memcpy(y, bytes, sizeof *y); break;
    }
}

#include "dense_product.h"

static void DENSE(pack_input)(const float *x, size_t columns, void *input) {
    memcpy(input, x, columns * sizeof *x);
    memset((float *)input + columns, 0, DENSE(input_bytes)(columns) - columns * sizeof *x);
}
