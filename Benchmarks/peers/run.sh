#!/usr/bin/env bash
# Our speed beside llama.cpp's on random models of one shape. Makes an environment with llama.cpp in it, compiled from
# PyPI's source for this CPU, then runs compare.py with the options given here:
#
#   Benchmarks/peers/run.sh --shape llama-7b --threads 2 --pp 512 --tg 128
#   Benchmarks/peers/run.sh --setup-only
#
# The first run downloads 130 MB and compiles for 10 minutes on two cores; llama-7b then takes 10 GB of disk for the
# four types, and 9 GB of memory with the file's pages. PEERS_ENVIRONMENT and --work put them elsewhere than in
# .build-peers; PYTHON chooses the Python.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
environment=${PEERS_ENVIRONMENT:-.build-peers/venv}
version=0.3.36 # of llama-cpp-python; carries llama.cpp at 0c1e57098bba43ac29e6e3b677cdceebdd22334f
# -march=native, OpenMP threads, Release (-O3); the rest of llama.cpp's defaults, without what is not measured.
export CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF ${CMAKE_ARGS:-}"

if [ ! -x "$environment/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$environment"
fi
if ! "$environment/bin/python" -c "import gguf, llama_cpp; assert llama_cpp.__version__ == '$version'" 2>/dev/null; then
    echo "Compiling llama-cpp-python $version with $CMAKE_ARGS" >&2
    # Without build isolation: otherwise pip would compile CMake itself, since "no binaries" would hold for it too.
    "$environment/bin/pip" install --quiet scikit-build-core cmake ninja numpy gguf >&2
    export CMAKE_BUILD_PARALLEL_LEVEL=$(nproc)
    PATH=$(cd "$environment/bin" && pwd):$PATH nice -n 19 "$environment/bin/pip" install --quiet --no-build-isolation \
        --no-binary llama-cpp-python "llama-cpp-python==$version" >&2
fi
[ "${1:-}" = --setup-only ] || exec "$environment/bin/python" Benchmarks/peers/compare.py "$@"
