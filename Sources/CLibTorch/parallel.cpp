#include "parallel.h"

#include <ATen/Parallel.h>
#include <c10/util/ParallelGuard.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace {

/// What compilers call for `#pragma omp parallel`: `body(data)` on each thread of the calling thread's team, as many as
/// `omp_set_num_threads` said where `thread_count` is 0. Of the library that libtorch has loaded.
using ParallelRegion = void (*)(void (*body)(void *), void *data, unsigned thread_count, unsigned flags);

ParallelRegion find_parallel_region() {
    return reinterpret_cast<ParallelRegion>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
}

struct Loop {
    c10::function_ref<void(int64_t, int64_t)> body;
    int64_t end, step;
    std::atomic<int64_t> next;
    std::once_flag failed;
    std::exception_ptr failure;

    static void run(void *data) {
        auto &loop = *static_cast<Loop *>(data);
        c10::ParallelGuard in_parallel(true);
        try {
            for (;;) {
                int64_t first = loop.next.fetch_add(loop.step, std::memory_order_relaxed);
                if (first >= loop.end) return;
                loop.body(first, std::min(first + loop.step, loop.end));
            }
        } catch (...) {
            loop.next.store(loop.end, std::memory_order_relaxed);
            std::call_once(loop.failed, [&] { loop.failure = std::current_exception(); });
        }
    }
};

}  // namespace

void onebit::parallel_for(int64_t begin, int64_t end, int64_t grain,
                          c10::function_ref<void(int64_t begin, int64_t end)> body) {
    if (begin >= end) return;
    static const ParallelRegion parallel_region = find_parallel_region();
    int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    grain = std::max<int64_t>(grain, 1);
    if (!parallel_region || threads == 1 || end - begin <= grain) return body(begin, end);
    constexpr int64_t ranges_per_thread = 8;
    int64_t ranges = threads * ranges_per_thread;
    Loop loop{body, end, std::max(grain, (end - begin + ranges - 1) / ranges), {begin}, {}, {}};
    parallel_region(Loop::run, &loop, /*thread_count=*/0, /*flags=*/0);
    if (loop.failure) std::rethrow_exception(loop.failure);
}
