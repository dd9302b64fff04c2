#pragma once
// Loops shared out over libtorch's own threads.

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace onebit {

/// Calls `body` with ranges that together are begin ..< end, each of at least `grain` where so much is left, on the threads
/// that libtorch's operations use. A thread takes the next range when it is through with one, so that one that the system
/// held up takes fewer. Rethrows what a range threw.
///
/// `at::parallel_for` is a template that runs everything on one thread where the including file is not compiled with
/// OpenMP, and Swift's clang has no header of it.
void parallel_for(int64_t begin, int64_t end, int64_t grain, c10::function_ref<void(int64_t begin, int64_t end)> body);

}  // namespace onebit
