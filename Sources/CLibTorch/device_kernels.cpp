#include "device_kernels.h"

#include <ATen/ATen.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "handle.h"
#include "optimizer.h"

namespace {

const char *const common_source =
#include "cuda/common.cuh"
    ;
const char *const layers_source =
#include "cuda/layers.cuh"
    ;
const char *const adamw_source =
#include "cuda/adamw.cuh"
    ;

#define SHARED_SOURCE(...) #__VA_ARGS__
const char *const adamw_arguments_source =
#include "cuda/adamw_arguments.h"
    ;
#undef SHARED_SOURCE

// As common.cuh has them.
using u8 = unsigned char;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

#define SHARED_SOURCE(...) __VA_ARGS__
#include "cuda/adamw_arguments.h"
#undef SHARED_SOURCE

// MARK: NVIDIA's functions, by name

/// CUfunction, CUmodule, CUcontext, CUstream, nvrtcProgram.
using Handle = void *;

struct Libraries {
    int (*create_program)(Handle *, const char *source, const char *name, int, const char *const *, const char *const *);
    int (*compile_program)(Handle, int count, const char *const *options);
    int (*log_size)(Handle, size_t *);
    int (*log)(Handle, char *);
    int (*code_size)(Handle, size_t *);
    int (*code)(Handle, char *);
    int (*destroy_program)(Handle *);
    int (*load_module)(Handle *, const void *code);
    int (*find_function)(Handle *, Handle module, const char *name);
    int (*launch)(Handle function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared_bytes,
                  Handle stream, void **arguments, void **extra);
    int (*current_context)(Handle *);
    int (*attribute)(int *, int attribute, int device);
    int (*runtime_free)(void *);
    bool are_there = false;

    Libraries() {
        const char *wanted = std::getenv("ONEBIT_DEVICE_KERNELS");
        if (wanted && std::string_view(wanted) == "0") return;
        // libtorch's own door to NVRTC: it knows where its wheel has it.
        std::string beside = onebit::cuda_library_folder() + "libcaffe2_nvrtc.so";
        void *library = dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL), *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library || !driver) return;
        bool found = true;
        auto find = [&](void *from, const char *name, auto *&function) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(from, name));
            found = found && function;
        };
        find(library, "nvrtcCreateProgram", create_program);
        find(library, "nvrtcCompileProgram", compile_program);
        find(library, "nvrtcGetProgramLogSize", log_size);
        find(library, "nvrtcGetProgramLog", log);
        find(library, "nvrtcGetCUBINSize", code_size);
        find(library, "nvrtcGetCUBIN", code);
        find(library, "nvrtcDestroyProgram", destroy_program);
        find(driver, "cuModuleLoadData", load_module);
        find(driver, "cuModuleGetFunction", find_function);
        find(driver, "cuLaunchKernel", launch);
        find(driver, "cuCtxGetCurrent", current_context);
        find(driver, "cuDeviceGetAttribute", attribute);
        find(RTLD_DEFAULT, "cudaFree", runtime_free);
        are_there = found;
        if (found) load_builtins();
    }

    /// NVRTC opens its library of built-in functions by a bare name: it must be open already.
    void load_builtins() const {
        Dl_info info;
        if (!dladdr(reinterpret_cast<const void *>(create_program), &info)) return;
        std::error_code ignored;
        for (const auto &file :
             std::filesystem::directory_iterator(std::filesystem::path(info.dli_fname).parent_path(), ignored)) {
            std::string name = file.path().filename();
            if (name.starts_with("libnvrtc-builtins.so")) dlopen(file.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
        }
    }
};

const Libraries &libraries() {
    static const Libraries found;
    return found;
}

void check(int error, const char *what) { TORCH_CHECK(error == 0, what, " failed with CUDA's error ", error); }

// MARK: Compilation

std::string element_name(at::ScalarType type) {
    return type == at::kFloat ? "float" : type == at::kBFloat16 ? "bfloat16" : "float16";
}

Handle compiled(const std::string &source, int device, at::ScalarType element) {
    const Libraries &cuda = libraries();
    // cudaDevAttrComputeCapabilityMajor and …Minor.
    int major = 0, minor = 0;
    check(cuda.attribute(&major, 75, device), "asking for the compute capability");
    check(cuda.attribute(&minor, 76, device), "asking for the compute capability");
    std::string architecture = "--gpu-architecture=sm_" + std::to_string(major) + std::to_string(minor);
    std::string type = "-DELEMENT=" + element_name(element);
    // The optimizer's step is that of the CPU's loops, which fuse no multiplication with an addition.
    const char *options[] = {architecture.c_str(), "--std=c++17", "--fmad=false", type.c_str()};
    Handle program = nullptr, module = nullptr;
    check(cuda.create_program(&program, source.c_str(), "onebit.cu", 0, nullptr, nullptr), "making a program");
    if (cuda.compile_program(program, 4, options) != 0) {
        size_t size = 0;
        cuda.log_size(program, &size);
        std::string log(size, ' ');
        cuda.log(program, log.data());
        cuda.destroy_program(&program);
        TORCH_CHECK(false, "NVRTC does not compile this program's kernels, without which it runs where ONEBIT_DEVICE_KERNELS is 0: ",
                    log);
    }
    size_t size = 0;
    check(cuda.code_size(program, &size), "asking for the size of code");
    std::vector<char> code(size);
    check(cuda.code(program, code.data()), "asking for code");
    cuda.destroy_program(&program);
    check(cuda.load_module(&module, code.data()), "loading code");
    return module;
}

std::string source(bool is_layer) {
    std::string common = common_source;
    return is_layer ? common + layers_source : common + adamw_arguments_source + adamw_source;
}

/// A kernel for a device. The optimizer's know their types by themselves.
Handle kernel(const char *name, int device, at::ScalarType element, bool is_layer) {
    static std::mutex mutex;
    static std::map<std::tuple<int, at::ScalarType, bool>, Handle> modules;
    static std::map<std::tuple<int, at::ScalarType, std::string_view>, Handle> functions;
    std::lock_guard<std::mutex> lock(mutex);
    Handle &function = functions[{device, element, name}];
    if (function) return function;
    const Libraries &cuda = libraries();
    Handle context = nullptr;
    check(cuda.current_context(&context), "asking for the context");
    Handle &module = modules[{device, element, is_layer}];
    if (!module) module = compiled(source(is_layer), device, element);
    check(cuda.find_function(&function, module, name), name);
    return function;
}

// MARK: Launches

struct Grid {
    int64_t x, y = 1;
    int threads;
};

template <typename... Arguments>
void launch(const char *name, const at::Tensor &on, bool is_layer, Grid grid, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0) return;
    const Libraries &cuda = libraries();
    int device = on.device().index();
    static const c10::impl::VirtualGuardImpl streams(at::kCUDA);
    // libtorch's threads have a context only once they have called the runtime.
    Handle context = nullptr;
    if (cuda.current_context(&context) != 0 || !context) check(cuda.runtime_free(nullptr), "making a context");
    Handle function = kernel(name, device, is_layer ? on.scalar_type() : at::kFloat, is_layer);
    void *pointers[] = {&arguments...};
    check(cuda.launch(function, grid.x, grid.y, 1, grid.threads, 1, 1, 0,
                      streams.getStream(on.device()).native_handle(), pointers, nullptr),
          name);
}

const void *read(const at::Tensor &x) { return x.defined() ? x.const_data_ptr() : nullptr; }
void *write(const at::Tensor &x) { return x.mutable_data_ptr(); }

template <typename Element>
const Element *read(const at::Tensor &x) {
    return static_cast<const Element *>(read(x));
}
template <typename Element>
Element *write(const at::Tensor &x) {
    return static_cast<Element *>(write(x));
}

constexpr int64_t pack = 8;
/// Of kernels that go over elements: enough to fill any device, and each thread then has several packs.
constexpr int64_t most_blocks = 4096;

Grid over(int64_t count) {
    constexpr int threads = 256;
    return {std::min((count + threads - 1) / threads, most_blocks), 1, threads};
}

/// A block for each row.
Grid by_rows(int64_t rows, int64_t row_packs) {
    return {rows, 1, static_cast<int>(std::clamp<int64_t>((row_packs + 31) / 32 * 32, 64, 512))};
}

/// Sums over rows are taken in parts, so that narrow matrices fill a device too.
struct Parts {
    int64_t row_packs, part_rows, count;
    Grid grid;

    explicit Parts(const at::Tensor &x) {
        constexpr int threads = 128;
        constexpr int64_t blocks = 2048, fewest_rows = 16;
        row_packs = x.size(-1) / pack;
        int64_t rows = x.numel() / x.size(-1), across = (row_packs + threads - 1) / threads;
        part_rows = std::max(fewest_rows, (rows * across + blocks - 1) / blocks);
        count = (rows + part_rows - 1) / part_rows;
        grid = {across, count, threads};
    }

    at::Tensor sums(const at::Tensor &x) const {
        return at::empty({count, x.size(-1)}, x.options().dtype(at::kFloat));
    }
};

at::Tensor floats(const at::Tensor &x) { return x.detach().to(at::kFloat).contiguous(); }

uint32_t rows_of(const at::Tensor &x) { return static_cast<uint32_t>(x.numel() / x.size(-1)); }
uint32_t row_packs_of(const at::Tensor &x) { return static_cast<uint32_t>(x.size(-1) / pack); }
uint32_t packs_of(const at::Tensor &x) { return static_cast<uint32_t>(x.numel() / pack); }

bool is_aligned(const at::Tensor &x) { return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0; }

bool is_float(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf; }

}  // namespace

namespace onebit {

bool device_kernels::know(std::initializer_list<at::Tensor> tensors) {
    const at::Tensor &first = *tensors.begin();
    if (!first.is_cuda() || !libraries().are_there) return false;
    for (const at::Tensor &x : tensors) {
        if (x.device() != first.device() || x.scalar_type() != first.scalar_type() || !is_float(x.scalar_type()) ||
            x.dim() == 0 || x.size(-1) % pack != 0 || x.numel() == 0 || x.numel() / pack > INT32_MAX ||
            !x.is_contiguous() || !is_aligned(x)) {
            return false;
        }
    }
    return true;
}

at::Tensor device_kernels::scaled(const at::Tensor &x, const at::Tensor &scale) {
    at::Tensor y = at::empty_like(x), factors = floats(scale);
    launch("scale_columns", x, true, over(packs_of(x)), read(x), read(factors), write(y), packs_of(x), row_packs_of(x));
    return y;
}

std::pair<at::Tensor, at::Tensor> device_kernels::scaled_and_summed(const at::Tensor &x, const at::Tensor &scale,
                                                                    const at::Tensor &z) {
    at::Tensor y = at::empty_like(x), factors = floats(scale);
    Parts parts(x);
    at::Tensor sums = parts.sums(x);
    launch("scale_columns_and_sum", x, true, parts.grid, read(x), read(factors), write(y), read(z), write(sums),
           rows_of(x), row_packs_of(x), static_cast<uint32_t>(parts.part_rows));
    return {y, sums.sum(0)};
}

bool device_kernels::know_bits(const at::Tensor &bits, int64_t columns) {
    return bits.is_cuda() && columns % pack == 0 && bits.is_contiguous() && bits.numel() > 0 &&
           bits.numel() <= INT32_MAX && libraries().are_there;
}

at::Tensor device_kernels::unpacked_signs(const at::Tensor &bits, at::ScalarType type) {
    at::Tensor y = at::empty({bits.size(0), bits.size(1) * pack}, bits.options().dtype(type));
    launch("unpack_signs", y, true, over(bits.numel()), read(bits), write(y), packs_of(y));
    return y;
}

std::pair<at::Tensor, at::Tensor> device_kernels::rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon) {
    at::Tensor y = at::empty_like(x), factors = floats(weight);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = 1;
    at::Tensor reciprocals = at::empty(shape, x.options().dtype(at::kFloat));
    launch("rms_norm", x, true, by_rows(rows_of(x), row_packs_of(x)), read(x), read(factors), write(y),
           write(reciprocals), row_packs_of(x), static_cast<float>(epsilon));
    return {y, reciprocals};
}

std::pair<at::Tensor, at::Tensor> device_kernels::rms_norm_gradient(const at::Tensor &x, const at::Tensor &weight,
                                                                    const at::Tensor &reciprocals, const at::Tensor &dy,
                                                                    bool wants_weight) {
    at::Tensor dx = at::empty_like(x), factors = floats(weight);
    launch("rms_norm_gradient", x, true, by_rows(rows_of(x), row_packs_of(x)), read(x), read(factors),
           read(reciprocals), read(dy), write(dx), row_packs_of(x));
    if (!wants_weight) return {dx, at::Tensor()};
    Parts parts(x);
    at::Tensor sums = parts.sums(x);
    launch("sum_columns", x, true, parts.grid, read(dy), read(x), read(reciprocals), write(sums), rows_of(x),
           row_packs_of(x), static_cast<uint32_t>(parts.part_rows));
    return {dx, sums.sum(0)};
}

at::Tensor device_kernels::swiglu(const at::Tensor &gate, const at::Tensor &up) {
    at::Tensor z = at::empty_like(gate);
    launch("swiglu", gate, true, over(packs_of(gate)), read(gate), read(up), write(z), packs_of(gate));
    return z;
}

std::pair<at::Tensor, at::Tensor> device_kernels::swiglu_gradient(const at::Tensor &gate, const at::Tensor &up,
                                                                  const at::Tensor &dz) {
    at::Tensor by_gate = at::empty_like(gate), by_up = at::empty_like(up);
    launch("swiglu_gradient", gate, true, over(packs_of(gate)), read(gate), read(up), read(dz), write(by_gate),
           write(by_up), packs_of(gate));
    return {by_gate, by_up};
}

bool device_kernels::know_rotation(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines) {
    return x.dim() == 4 && cosines.dim() == 2 && cosines.size(0) == x.size(1) && 2 * cosines.size(1) == x.size(3) &&
           sines.sizes() == cosines.sizes() && know({x, cosines, sines});
}

at::Tensor device_kernels::rotated(const at::Tensor &x, const at::Tensor &cosines, const at::Tensor &sines,
                                   double direction) {
    at::Tensor y = at::empty_like(x);
    uint32_t packs = packs_of(x) / 2;
    launch("rotate", x, true, over(packs), read(x), read(cosines), read(sines), write(y), packs, row_packs_of(x) / 2,
           static_cast<uint32_t>(x.size(2)), static_cast<uint32_t>(x.size(1)), static_cast<float>(direction));
    return y;
}

std::pair<at::Tensor, at::Tensor> device_kernels::direction_loss(const at::Tensor &teacher, const at::Tensor &student,
                                                                 double factor) {
    at::Tensor gradient = at::empty_like(student);
    at::Tensor losses = at::empty({rows_of(student)}, student.options().dtype(at::kFloat));
    launch("direction_loss", student, true, by_rows(rows_of(student), row_packs_of(student)), read(teacher),
           read(student), write(losses), write(gradient), row_packs_of(student), static_cast<float>(factor));
    return {losses, gradient};
}

device_kernels::LogitLoss device_kernels::logit_loss(const at::Tensor &student, const at::Tensor &teacher,
                                                     const at::Tensor &targets, const lt_head_loss_settings &settings) {
    at::TensorOptions options = student.options().dtype(at::kFloat);
    LogitLoss loss = {at::empty({rows_of(student)}, options), at::empty({rows_of(student)}, options),
                      at::empty_like(student)};
    at::Tensor tokens = targets.defined() ? targets.contiguous() : targets;
    launch("logit_loss", student, true, by_rows(rows_of(student), row_packs_of(student)), read(student), read(teacher),
           read(tokens), write(loss.divergences), write(loss.cross_entropies), write(loss.gradient),
           row_packs_of(student), static_cast<float>(settings.divergence_weight),
           static_cast<float>(settings.cross_entropy_weight));
    return loss;
}

// MARK: AdamW

namespace {

Form form_of(at::ScalarType type) {
    return type == at::kFloat      ? form_float32
           : type == at::kBFloat16 ? form_bfloat16
           : type == at::kHalf     ? form_float16
                                   : form_blocks;
}

/// The rows as a kernel reads them, and what must live until it is launched.
struct Prepared {
    Rows rows;
    at::Tensor gradient, output_scale, input_scale;
    Grid grid;

    Prepared(const lt_adamw_rows &given, const lt_tensor *gradient_of_rows, const lt_latent_scales *latent)
        : gradient(gradient_of_rows->value.contiguous()) {
        const at::Tensor &value = given.value->value;
        TORCH_CHECK(value.dim() == 2 && value.is_contiguous() && gradient.numel() == value.numel(), "a gradient of ",
                    gradient.sizes(), " for ", value.sizes());
        int64_t row_blocks = (value.size(1) + LT_MOMENT_BLOCK - 1) / LT_MOMENT_BLOCK;
        rows = {};
        rows.value = write(value);
        rows.first = moment(given.first_moment, given.first_scale, true);
        rows.second = moment(given.second_moment, given.second_scale, false);
        rows.gradient = read(gradient);
        rows.columns = value.size(1);
        rows.row_blocks = static_cast<uint32_t>(row_blocks);
        rows.blocks = static_cast<uint32_t>(value.size(0) * row_blocks);
        rows.value_form = form_of(value.scalar_type());
        rows.gradient_form = form_of(gradient.scalar_type());
        if (latent) {
            output_scale = floats(latent->output_scale->value);
            input_scale = floats(latent->input_scale->value);
            TORCH_CHECK(output_scale.numel() == value.size(0) && input_scale.numel() == value.size(1),
                        "scales of other rows");
            rows.output_scale = read<float>(output_scale);
            rows.input_scale = read<float>(input_scale);
            rows.sign_gradient = latent->sign_gradient == LT_SIGN_TANH ? sign_gradient_tanh : sign_gradient_hard;
        }
        grid = {std::min<int64_t>(rows.blocks, most_blocks), 1, LT_MOMENT_BLOCK};
    }

    static Moment moment(const lt_tensor *data, const lt_tensor *scale, bool is_signed) {
        const at::Tensor &value = data->value;
        return {write(value), scale ? write<float>(scale->value) : nullptr,
                scale ? read<float>(levels(is_signed, value.device())) : nullptr, form_of(value.scalar_type())};
    }

    /// On a device for as long as the process lives.
    static const at::Tensor &levels(bool is_signed, at::Device device) {
        static std::mutex mutex;
        static std::map<std::pair<bool, int>, at::Tensor> known;
        std::lock_guard<std::mutex> lock(mutex);
        at::Tensor &found = known[{is_signed, device.index()}];
        if (!found.defined()) {
            auto *first = const_cast<float *>(onebit::moment_levels(is_signed));
            found = at::from_blob(first, {is_signed ? 128 : 256}, at::TensorOptions().dtype(at::kFloat)).to(device);
        }
        return found;
    }
};

}  // namespace

bool device_kernels::know(const lt_adamw_rows &rows, const lt_tensor *gradient) {
    const at::Tensor &value = rows.value->value;
    return value.is_cuda() && gradient->value.device() == value.device() && value.numel() > 0 &&
           value.numel() / LT_MOMENT_BLOCK + value.size(0) < INT32_MAX && libraries().are_there;
}

at::Tensor device_kernels::gradient_square_sum(const lt_adamw_rows &rows, const lt_tensor *gradient,
                                               const lt_latent_scales *latent) {
    Prepared prepared(rows, gradient, latent);
    const at::Tensor &value = rows.value->value;
    at::Tensor sums = at::empty({prepared.grid.x}, value.options().dtype(at::kDouble));
    prepared.rows.square_sums = write<double>(sums);
    launch("gradient_square_sums", value, false, prepared.grid, prepared.rows);
    return sums.sum();
}

at::Tensor device_kernels::adamw_step(const lt_adamw_rows &rows, const lt_tensor *gradient,
                                      const lt_latent_scales *latent, const lt_adamw_settings &settings, uint64_t seed,
                                      int64_t first_element, const lt_tensor *signs) {
    Prepared prepared(rows, gradient, latent);
    const at::Tensor &value = rows.value->value;
    at::Tensor turned = at::zeros({}, value.options().dtype(at::kLong));
    prepared.rows.turned = reinterpret_cast<u64 *>(write(turned));
    if (signs) prepared.rows.signs = write<u8>(signs->value);
    double t = static_cast<double>(settings.step);
    Step step = {static_cast<float>(settings.beta2),
                 static_cast<float>(1 - settings.beta1),
                 static_cast<float>(1 - settings.beta2),
                 static_cast<float>(settings.epsilon),
                 static_cast<float>(1 - settings.learning_rate * settings.weight_decay),
                 static_cast<float>(settings.learning_rate / (1 - std::pow(settings.beta1, t))),
                 static_cast<float>(1 / std::sqrt(1 - std::pow(settings.beta2, t))),
                 static_cast<float>(settings.gradient_factor),
                 onebit::random_key(seed, settings.step),
                 first_element};
    launch("adamw_step", value, false, prepared.grid, prepared.rows, step);
    return turned;
}

}  // namespace onebit
