#!/usr/bin/env bash
# Builds libonebit_nccl.so, through which training runs over NCCL (Sources/CLibTorch/nccl), beside libtorch_cuda.so. Plain
# C++: NVIDIA's compiler is not needed. `make setup CUDA=1` calls this. Does nothing when the library is up to date.
#
# Usage: scripts/build-nccl-backend.sh [folder]      (folder: .deps beside this script's folder, unless given)
# CXX names the C++ compiler; clang++, which comes with Swift, unless given.
set -euo pipefail

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$project/.deps}
source=$project/Sources/CLibTorch/nccl
library=$folder/torch/lib/libonebit_nccl.so

if [ -f "$library" ] && [ -z "$(find "$source" "${BASH_SOURCE[0]}" -newer "$library" -print -quit)" ]; then
    exit 0
fi
printf 'setup: compiling %s\n' "${library##*/}"
include=$folder/torch/include
# -fvisibility=hidden: c10d's inline functions stay libtorch's. The new file replaces the old one at once.
"${CXX:-clang++}" -std=c++20 -O2 -fPIC -shared -fvisibility=hidden -w -DUSE_C10D_NCCL \
    -isystem "$include" -isystem "$include/torch/csrc/api/include" -isystem "$source/stubs" \
    -isystem "$folder/nvidia/nccl/include" -isystem "$folder/nvidia/cu13/include" \
    "$source/nccl_backend.cpp" -L"$folder/torch/lib" -ltorch_cpu -lc10 -lc10_cuda -o "$library.new"
mv "$library.new" "$library"
