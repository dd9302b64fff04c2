// Vectors of 16 lanes as the compiler knows them, lowered to whatever the target has.
#pragma once

#include <stdint.h>

enum { lanes = 16 };

typedef float v16f __attribute__((vector_size(64)));
typedef float v8f __attribute__((vector_size(32)));
typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint16_t v32u16 __attribute__((vector_size(64)));
typedef uint16_t v16u16 __attribute__((vector_size(32)));
typedef int16_t v16i16 __attribute__((vector_size(32)));
typedef int16_t v32i16 __attribute__((vector_size(64)));
typedef int8_t v16i8 __attribute__((vector_size(16)));
typedef int8_t v32i8 __attribute__((vector_size(32)));
typedef uint8_t v16u8 __attribute__((vector_size(16)));

// Vectors are passed by address: by value they would follow a calling convention that depends on the target.
#define INLINE static inline __attribute__((always_inline))
