#include "nccl_backend.h"

#include <nccl.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

// ProcessGroupNCCL::Options holds an ncclConfig_t by value: another NCCL's headers would give it another layout.
static_assert(NCCL_VERSION_CODE == NCCL_VERSION(2, 28, 9), "torch 2.11.0 was built against NCCL 2.28.9");

extern "C" __attribute__((visibility("default"))) void *onebit_nccl_backend(void *store, int rank, int size,
                                                                            int64_t timeout_milliseconds, char *error,
                                                                            size_t error_size) {
    try {
        auto options = c10d::ProcessGroupNCCL::Options::create();
        options->timeout = std::chrono::milliseconds(timeout_milliseconds);
        auto kept = c10::intrusive_ptr<c10d::Store>::unsafe_reclaim_from_nonowning(static_cast<c10d::Store *>(store));
        c10::intrusive_ptr<c10d::Backend> backend =
            c10::make_intrusive<c10d::ProcessGroupNCCL>(kept, rank, size, options);
        return backend.release();
    } catch (const c10::Error &failure) {
        std::snprintf(error, error_size, "%s", failure.what_without_backtrace());
    } catch (const std::exception &failure) {
        std::snprintf(error, error_size, "%s", failure.what());
    } catch (...) {
        std::snprintf(error, error_size, "unknown C++ exception");
    }
    return nullptr;
}

extern "C" __attribute__((visibility("default"))) int onebit_nccl_version(void) { return NCCL_VERSION_CODE; }
