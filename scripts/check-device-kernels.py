#!/usr/bin/env python3
"""Compiles the kernels for CUDA devices with NVRTC, which needs no device: for the oldest one that libtorch knows, an H100 and a
B200.

    pip download --no-deps nvidia-cuda-nvrtc==13.0.88 && unzip nvidia_cuda_nvrtc-*.whl -d nvrtc
    scripts/check-device-kernels.py nvrtc/nvidia/cu13/lib

After `make setup CUDA=1` the folder is .deps/nvidia/cu13/lib, which is looked in where none is given.
"""

import ctypes
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / ".deps/nvidia/cu13/lib"
for builtins in folder.glob("libnvrtc-builtins.so.*"):  # NVRTC opens them by a bare name
    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
nvrtc = ctypes.CDLL(str(folder / "libnvrtc.so.13"))


def source(name):
    text = (root / "Sources/CLibTorch/cuda" / name).read_text(encoding="utf-8")
    return re.fullmatch(r'R"CUDA\((.*)\)CUDA"\n|.*SHARED_SOURCE\(\n(.*)\)\n', text, re.DOTALL).expand(r"\1\2")


def compiles(text, options):
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"onebit.cu", 0, None, None)
    arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), arguments)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed or log.value:
        print(*options, log.value.decode(), sep="\n")
    return not failed


is_right = True
for architecture in ["sm_75", "sm_90", "sm_100"]:
    # As device_kernels.cpp has them.
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "--fmad=false"]
    for element in ["float", "bfloat16", "float16"]:
        is_right &= compiles(source("common.cuh") + source("layers.cuh"), [*options, f"-DELEMENT={element}"])
    is_right &= compiles(source("common.cuh") + source("adamw_arguments.h") + source("adamw.cuh"), options)
print("The kernels compile." if is_right else "Some kernels do not compile.")
sys.exit(not is_right)
