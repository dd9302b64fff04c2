// Which version this machine can run. The one place that asks the CPU.

#include <stdbool.h>
#include <string.h>

#include "dense_kernels.h"
#include "kernel_tables.h"

#if defined(__x86_64__)
#include <cpuid.h>

// Register state that the operating system saves on a context switch (XCR0); without it AVX registers can't be used
// even where the CPU has them.
static uint64_t saved_register_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

// Whether leaf 1 has AVX, F16C and FMA, the system saves `state`, and leaf 7 has all of `ebx` and `ecx`.
static bool has(uint64_t state, uint32_t ebx, uint32_t ecx) {
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const uint32_t needed = fma | osxsave | avx | f16c;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return false;
    if ((saved_register_state() & state) != state) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & ebx) == ebx && (c & ecx) == ecx;
}

// Bits of leaf 7, and of XCR0: xmm and ymm; masks, upper halves of zmm, zmm16 to 31.
enum {
    avx2 = 1 << 5,
    avx512f = 1 << 16,
    avx512dq = 1 << 17,
    avx512bw = 1 << 30,
    avx512vbmi = 1 << 1,
    ymm_state = 0x06,
    zmm_state = 0xe6,
};
#define AVX512VL (1u << 31)
#define AVX512 (avx2 | avx512f | avx512dq | avx512bw | AVX512VL)

static bool has_avx2(void) { return has(ymm_state, avx2, 0); }
static bool has_avx512bw(void) { return has(zmm_state, AVX512, 0); }
static bool has_avx512vbmi(void) { return has(zmm_state, AVX512, avx512vbmi); }
static bool has_avx512bf16(void) {
    const uint32_t avx512bf16 = 1u << 5;
    uint32_t a, b, c, d;
    return has_avx512bw() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & avx512bf16) != 0;
}
#endif

static bool has_everything(void) { return true; }

typedef struct {
    const sign_kernels_table *table;
    bool (*is_supported)(void);
} version;

// Best first.
static const version versions[] = {
#if defined(__x86_64__)
    {&sign_kernels_table_avx512vbmi, has_avx512vbmi},
    {&sign_kernels_table_avx512bw, has_avx512bw},
    {&sign_kernels_table_avx2, has_avx2},
#elif defined(__aarch64__)
    {&sign_kernels_table_neon, has_everything},
#endif
    {&sign_kernels_table_portable, has_everything},
};
static const size_t version_count = sizeof versions / sizeof versions[0];

const char *sign_kernels_known_name(size_t index) {
    return index < version_count ? versions[index].table->name : NULL;
}

const sign_kernels_table *sign_kernels_find(const char *name) {
    for (size_t i = 0; i < version_count; i++) {
        if (name != NULL && strcmp(name, versions[i].table->name) != 0) continue;
        if (versions[i].is_supported()) return versions[i].table;
    }
    return NULL;
}

typedef struct {
    const sign_kernels_dense_table *table;
    bool (*is_supported)(void);
} dense_version;

// Best first.
static const dense_version dense_versions[] = {
#if defined(__x86_64__)
    {&sign_kernels_dense_avx512bf16, has_avx512bf16},
    {&sign_kernels_dense_avx512, has_avx512bw},
    {&sign_kernels_dense_avx2, has_avx2},
#elif defined(__aarch64__)
    {&sign_kernels_dense_neon, has_everything},
#endif
    {&sign_kernels_dense_portable, has_everything},
};
static const size_t dense_version_count = sizeof dense_versions / sizeof dense_versions[0];

const char *sign_kernels_known_dense_name(size_t index) {
    return index < dense_version_count ? dense_versions[index].table->name : NULL;
}

const sign_kernels_dense_table *sign_kernels_find_dense(const char *name) {
    for (size_t i = 0; i < dense_version_count; i++) {
        if (name != NULL && strcmp(name, dense_versions[i].table->name) != 0) continue;
        if (dense_versions[i].is_supported()) return dense_versions[i].table;
    }
    return NULL;
}
