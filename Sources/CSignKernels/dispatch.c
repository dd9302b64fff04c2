// Which version this machine can run. The one place that asks the CPU.

#include <stdbool.h>
#include <string.h>

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

static bool has_avx2(void) {
    const uint32_t osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5;
    const uint64_t xmm_and_ymm = 6;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    const uint32_t needed = osxsave | avx | f16c;
    if ((c & needed) != needed) return false;
    if ((saved_register_state() & xmm_and_ymm) != xmm_and_ymm) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & avx2) != 0;
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
    {&sign_kernels_table_avx2, has_avx2},
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
