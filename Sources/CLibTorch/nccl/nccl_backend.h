#pragma once
// What libonebit_nccl.so exports: NCCL's process group as a c10d::Backend. It is a library of its own, built by
// `make setup CUDA=1`, because it is compiled against CUDA's and NCCL's headers and refers to symbols of libtorch_cuda.so.
// Open it behind that, with dlopen(ONEBIT_NCCL_LIBRARY, RTLD_NOW).

#include <cstddef>
#include <cstdint>

#define ONEBIT_NCCL_LIBRARY "libonebit_nccl.so"
#define ONEBIT_NCCL_BACKEND "onebit_nccl_backend"

extern "C" {

/// Makes a c10d::ProcessGroupNCCL. A communicator is made at the first collective, on the device of its tensors.
///
/// `store`: a c10d::Store *, which the backend keeps a reference to. Returns a c10d::Backend * that the caller owns a
/// reference to (c10::intrusive_ptr<c10d::Backend>::reclaim), or NULL with the reason in `error`, cut at `error_size`.
typedef void *onebit_nccl_backend_function(void *store, int rank, int size, int64_t timeout_milliseconds, char *error,
                                           size_t error_size);
onebit_nccl_backend_function onebit_nccl_backend;

/// The NCCL that the library was compiled against, as ncclGetVersion counts: 22809 is 2.28.9.
typedef int onebit_nccl_version_function(void);
onebit_nccl_version_function onebit_nccl_version;
}
