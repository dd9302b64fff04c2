// The tables that sign products look sums up in, written once and compiled for every instruction set.
//
//     T[i] = Σ_j |x_j| · [bit j of i ≠ (x_j < 0)] = Σ_{j ∈ i} x_j − Σ_j min(x_j, 0)
//
// T is stored in digits of base 64, a byte each, so that four of them can be added in a byte: two digits where |x| ≤ 127
// (T ≤ 6 · 127 < 64²), three where |x| ≤ 32767 (T ≤ 6 · 32767 < 64³).
//
// No include guard: it is a template. Include <string.h> and layouts.h before it.

enum { digits_int8 = 2, digits_int16 = 3, digit_bits = 6 };

typedef int16_t entries16 __attribute__((vector_size(32)));
typedef int32_t entries32 __attribute__((vector_size(64)));
typedef uint8_t entries8 __attribute__((vector_size(16)));

// Digits of 16 entries to 16 bytes each, `digit_stride` bytes apart.
#define STORE_DIGITS(entries, digits, tables, digit_stride)                                        \
    for (int d = 0; d < (digits); d++) {                                                           \
        const entries8 bytes = __builtin_convertvector((entries) >> (digit_bits * d) & 63, entries8); \
        memcpy((tables) + d * (digit_stride), &bytes, sizeof bytes);                               \
    }

// Tabulates one group of 4 or 6 columns; entries 16k to 16k + 15 of digit d go to tables + d · digit_stride + 16k.
#define DEFINE_TABULATE(name, integer, vector, digits)                                             \
    static inline __attribute__((always_inline)) void name(const integer *x, const int columns, uint8_t *tables, \
                                                           size_t digit_stride) {                  \
        const vector bit0 = {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1};              \
        const vector bit1 = {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1};              \
        const vector bit2 = {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};              \
        const vector bit3 = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};              \
        int32_t negative = 0;                                                                      \
        for (int j = 0; j < columns; j++) negative += x[j] < 0 ? x[j] : 0;                         \
        const vector first = (bit0 & x[0]) + (bit1 & x[1]) + (bit2 & x[2]) + (bit3 & x[3])         \
                             - (__typeof__(first[0]))negative;                                     \
        for (int run = 0; run < 1 << (columns - 4); run++) {                                       \
            const int32_t rest = (run & 1 ? x[4] : 0) + (run & 2 ? x[5] : 0);                      \
            const vector entries = first + (__typeof__(first[0]))rest;                             \
            STORE_DIGITS(entries, digits, tables + 16 * run, digit_stride)                         \
        }                                                                                          \
    }

DEFINE_TABULATE(tabulate_int8, int8_t, entries16, digits_int8)
DEFINE_TABULATE(tabulate_int16, int16_t, entries32, digits_int16)
