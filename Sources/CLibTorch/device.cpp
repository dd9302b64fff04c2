// Devices other than the CPU: opening libtorch's CUDA library at run time, what the machine has, memory, streams, events.
//
// The program is linked against libtorch_cpu.so alone. libtorch_cuda.so registers itself when it is opened (pytorch#7275),
// and NVIDIA's own functions, of which a few are called here, are looked up by name: no header of CUDA is needed.

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/Event.h>
#include <c10/core/GradMode.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "handle.h"

using onebit::guarded;
using onebit::guarded_effect;
using onebit::guarded_tensor;

struct lt_event {
    c10::Event value;
};

namespace {

/// What dlopen gave for libtorch_cuda.so; its symbols and those of all that it needs are found by it.
std::atomic<void *> cuda_library = nullptr;
std::string cuda_folder;
std::atomic<bool> has_made_tensors = false;
/// Whether a CUDA device was chosen.
std::atomic<bool> uses_cuda = false;

at::Device cuda(int index) { return {at::kCUDA, static_cast<c10::DeviceIndex>(index)}; }

c10::Stream unpacked(lt_stream stream) { return c10::Stream(c10::Stream::UNSAFE, cuda(stream.device), stream.id); }

lt_stream packed(c10::Stream stream) { return {stream.id(), stream.device_index()}; }

const c10::impl::VirtualGuardImpl &cuda_streams() {
    static const c10::impl::VirtualGuardImpl streams(at::kCUDA);
    return streams;
}

/// A function of NVIDIA's, by name.
template <typename Function>
Function *found(void *library, const char *name) {
    return library ? reinterpret_cast<Function *>(dlsym(library, name)) : nullptr;
}

/// The driver's own library, which comes with the driver and with nothing else.
void *driver_library() {
    static void *const library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    return library;
}

int version_by(const char *function) {
    int version = 0;
    auto *ask = found<int(int *)>(cuda_library.load(), function);
    return ask && ask(&version) == 0 ? version : 0;
}

}  // namespace

at::Device onebit::place(lt_device device) {
    // Every tensor that this library makes of nothing is made here first.
    has_made_tensors.store(true, std::memory_order_relaxed);
    switch (device.kind) {
        case LT_CPU: return at::kCPU;
        case LT_META: return at::kMeta;
        case LT_CUDA: break;
    }
    // Which device is the current one is each thread's own affair, and starts at 0: a process that computes on another
    // would put a context of hundreds of megabytes on device 0 too.
    thread_local int current = -1;
    if (current != device.index) {
        at::accelerator::setDeviceIndex(static_cast<c10::DeviceIndex>(device.index));
        current = device.index;
    }
    return cuda(device.index);
}

const std::string &onebit::cuda_library_folder() { return cuda_folder; }

// MARK: The CUDA library

bool lt_has_made_tensors(void) { return has_made_tensors.load(std::memory_order_relaxed); }

const char *lt_version(void) { return TORCH_VERSION; }

const char *lt_library_path(void) {
    Dl_info info;
    return dladdr(reinterpret_cast<const void *>(&at::globalContext), &info) ? info.dli_fname : "";
}

bool lt_has_cuda_driver(void) { return driver_library() != nullptr; }

int lt_load_cuda(const char *path) {
    return guarded_effect([&] {
        static std::mutex once;
        std::lock_guard<std::mutex> lock(once);
        if (cuda_library) return;
        if (lt_has_made_tensors()) throw std::runtime_error("tensors were made before");
        // Read by libraries as they are opened. Segments that grow keep memory whole where sizes vary; cuBLAS gives the
        // same bits in every run only with a workspace of a fixed size. What the user has set stays.
        if (!std::getenv("PYTORCH_CUDA_ALLOC_CONF")) setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", 0);
        setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
        void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (!library) throw std::runtime_error(dlerror());
        std::string file = path;
        cuda_folder = file.substr(0, file.rfind('/') + 1);
        cuda_library = library;
    });
}

bool lt_cuda_is_loaded(void) { return cuda_library != nullptr; }

lt_cuda_state lt_ask_cuda(void) {
    lt_cuda_state state{};
    void *library = cuda_library;
    auto *count = found<int(int *)>(library, "cudaGetDeviceCount");
    auto *text = found<const char *(int)>(library, "cudaGetErrorString");
    state.error = count ? count(&state.devices) : -1;
    if (state.error != 0) state.devices = 0;
    state.driver_version = version_by("cudaDriverGetVersion");
    state.runtime_version = version_by("cudaRuntimeGetVersion");
    onebit::set_last_error(state.error == 0 ? "" : text ? text(state.error) : "libcudart.so has no cudaGetDeviceCount");
    return state;
}

int lt_describe_cuda_device(int index, lt_cuda_device *device) {
    return guarded_effect([&] {
        *device = {};
        auto *attribute = found<int(int *, int, int)>(cuda_library, "cudaDeviceGetAttribute");
        auto *name = found<int(char *, int, int)>(driver_library(), "cuDeviceGetName");
        auto *memory = found<int(size_t *, int)>(driver_library(), "cuDeviceTotalMem_v2");
        // cudaDevAttrComputeCapabilityMajor and …Minor.
        constexpr int major = 75, minor = 76;
        size_t bytes = 0;
        if (!attribute || attribute(&device->major, major, index) || attribute(&device->minor, minor, index) || !name ||
            name(device->name, sizeof(device->name), index) || !memory || memory(&bytes, index)) {
            throw std::runtime_error("the driver does not describe the device");
        }
        device->bytes = static_cast<int64_t>(bytes);
    });
}

int lt_use_cuda_device(int index) {
    return guarded_effect([&] {
        at::accelerator::setDeviceIndex(static_cast<c10::DeviceIndex>(index));
        at::Context &context = at::globalContext();
        // The allocator knows no device before, and refuses to tell of its memory.
        context.lazyInitDevice(at::kCUDA);
        // The same input gives the same bits. An operation that has no such version is an error, because where libtorch may
        // warn instead its attention in float32 takes the version that has none. Filling memory that is about to be
        // written would cost time for nothing.
        context.setDeterministicAlgorithms(true, /*warn_only=*/false);
        context.setDeterministicFillUninitializedMemory(false);
        // cuDNN's attention is compiled for each shape, in a tenth of a second, and cached tokens make a new one each step.
        context.setSDPUseCuDNN(false);
        // Products of 16-bit numbers are summed in float32 to the end.
        context.setAllowBF16ReductionCuBLAS(false);
        context.setAllowFP16ReductionCuBLAS(false);
        uses_cuda = true;
    });
}

onebit_nccl_backend_function *onebit::find_nccl_backend() {
    // Beside libtorch's libraries, or wherever the loader finds it.
    std::string beside = lt_library_path();
    beside = beside.substr(0, beside.rfind('/') + 1) + ONEBIT_NCCL_LIBRARY;
    void *library = dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen(ONEBIT_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    auto *version = found<onebit_nccl_version_function>(library, "onebit_nccl_version");
    auto *loaded = found<int(int *)>(cuda_library, "ncclGetVersion");
    int running = 0;
    if (!version || !loaded || loaded(&running) != 0 || version() != running) {
        throw std::runtime_error(std::string(ONEBIT_NCCL_LIBRARY) + " was built for another NCCL than " +
                                 std::to_string(running));
    }
    return found<onebit_nccl_backend_function>(library, ONEBIT_NCCL_BACKEND);
}

int lt_find_nccl(void) {
    return guarded_effect([] { onebit::find_nccl_backend(); });
}

// MARK: Memory

int lt_device_memory(lt_device device, lt_memory *memory) {
    return guarded_effect([&] {
        auto index = static_cast<c10::DeviceIndex>(device.index);
        auto [free, total] = at::accelerator::getMemoryInfo(index);
        auto stats = at::accelerator::getDeviceStats(index);
        constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        *memory = {static_cast<int64_t>(free),    static_cast<int64_t>(total),    stats.allocated_bytes[all].current,
                   stats.allocated_bytes[all].peak, stats.reserved_bytes[all].peak, stats.num_alloc_retries};
    });
}

int lt_reset_peak_memory(lt_device device) {
    return guarded_effect([&] { at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(device.index)); });
}

int lt_release_cached_memory(void) {
    return guarded_effect([&] { at::accelerator::emptyCache(); });
}

int lt_synchronize(lt_device device) {
    return guarded_effect([&] { at::accelerator::synchronizeDevice(static_cast<c10::DeviceIndex>(device.index)); });
}

// MARK: Streams and events

int lt_current_stream(lt_device device, lt_stream *stream) {
    return guarded_effect([&] { *stream = packed(cuda_streams().getStream(cuda(device.index))); });
}

int lt_new_stream(lt_device device, lt_stream *stream) {
    return guarded_effect([&] { *stream = packed(cuda_streams().getStreamFromGlobalPool(cuda(device.index))); });
}

int lt_exchange_stream(lt_stream stream, lt_stream *previous) {
    return guarded_effect([&] { *previous = packed(cuda_streams().exchangeStream(unpacked(stream))); });
}

lt_event *lt_record_event(lt_stream stream) {
    return guarded(static_cast<lt_event *>(nullptr), [&] {
        auto event = std::make_unique<lt_event>(c10::Event(at::kCUDA));
        event->value.record(unpacked(stream));
        return event.release();
    });
}

void lt_event_release(lt_event *event) { delete event; }

int lt_stream_wait(lt_stream stream, const lt_event *event) {
    return guarded_effect([&] { event->value.block(unpacked(stream)); });
}

int lt_event_wait(const lt_event *event) {
    return guarded_effect([&] { event->value.synchronize(); });
}

// MARK: Copies that the host does not wait for

lt_tensor *lt_to_async(const lt_tensor *tensor, lt_device device) {
    return guarded_tensor([&] { return tensor->value.to(onebit::place(device), /*non_blocking=*/true); });
}

int lt_copy_async(lt_tensor *destination, const lt_tensor *source) {
    return guarded_effect([&] {
        c10::NoGradGuard unrecorded;
        TORCH_CHECK(destination->value.sizes() == source->value.sizes(), "copying ", source->value.sizes(), " over ",
                    destination->value.sizes());
        destination->value.copy_(source->value, /*non_blocking=*/true);
    });
}

lt_tensor *lt_empty_pinned(lt_type type, const int64_t *shape, int rank) {
    return guarded_tensor([&] {
        at::TensorOptions options = at::TensorOptions(onebit::place({LT_CPU, 0})).dtype(onebit::scalar_type(type));
        return at::empty({shape, static_cast<size_t>(rank)}, options.pinned_memory(uses_cuda));
    });
}
