#pragma once
// What the C handles hold, and how a C++ exception becomes a C error.

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <exception>
#include <string>

#include "CLibTorch.h"
#include "nccl/nccl_backend.h"
#include "sign_matrix.h"

struct lt_tensor {
    at::Tensor value;
};

struct lt_sign_matrix {
    c10::intrusive_ptr<onebit::SignMatrix> value;
};

namespace onebit {

/// `is_memory`: whether a device had no memory left.
void set_last_error(const std::string &message, bool is_memory = false);

at::ScalarType scalar_type(lt_type type);
at::Device place(lt_device device);

/// The folder of libtorch_cuda.so, with a slash behind it; empty before `lt_load_cuda`.
const std::string &cuda_library_folder();

/// The function that makes NCCL's part of a group, out of the library that the setup builds (nccl/nccl_backend.h). Throws
/// where there is none.
onebit_nccl_backend_function *find_nccl_backend();

/// Throws where this thread's stop test says true.
void throw_if_stopped();

/// Runs `body`; a throw becomes `failure` and a message in `lt_last_error`.
template <typename Result, typename Body>
Result guarded(Result failure, Body &&body) {
    try {
        return body();
    } catch (const c10::OutOfMemoryError &error) {
        set_last_error(error.what_without_backtrace(), /*is_memory=*/true);
    } catch (const c10::Error &error) {
        set_last_error(error.what_without_backtrace());
    } catch (const std::exception &error) {
        set_last_error(error.what());
    } catch (...) {
        set_last_error("unknown C++ exception");
    }
    return failure;
}

/// Runs `body`, which makes a tensor, and wraps the result in a handle.
template <typename Body>
lt_tensor *guarded_tensor(Body &&body) {
    return guarded(static_cast<lt_tensor *>(nullptr), [&] { return new lt_tensor{body()}; });
}

/// Runs `body` for its effect: 0, or -1 after a throw.
template <typename Body>
int guarded_effect(Body &&body) {
    return guarded(-1, [&] {
        body();
        return 0;
    });
}

}  // namespace onebit
