#!/usr/bin/env bash
# What a machine with a CUDA device has to show before a long run: the device computes what the CPU does, every placement
# what the others do, this project's kernels what libtorch's operations do, and the same run gives the same bytes. Two
# minutes with a model of 100 million parameters on an H100. DEVICE=cpu tries out the script itself.
#
#   make setup CUDA=1 && make build
#   runs/check-cuda.sh /models/smollm2-135m text.jsonl /tmp/check-cuda
set -euo pipefail
teacher=${1:?directory of the teacher}
corpus=${2:?text to train on: JSON lines, or plain}
work=${3:?directory to work in, which must not exist}
device=${DEVICE:-cuda}
onebit=${ONEBIT:-.build/release/onebit}
mkdir "$work"

perplexity() {
    "$onebit" perplexity "$teacher" --text "$corpus" --window 256 --limit-windows 8 --device "$1" --json --quiet
}
distill() {  # name, further options
    local name=$1
    shift
    "$onebit" distill "$teacher" --start "$work/start" --corpus "$corpus" --output "$work/$name" --steps 8 \
        --batch-size 4 --sequence-length 256 --quiet "$@"
}
# The losses of two runs, step by step.
compare() {  # name, name, largest relative difference
    python3 - "$work/$1/training_log.jsonl" "$work/$2/training_log.jsonl" "$3" <<'PYTHON'
import json, sys
a, b = ([json.loads(line)["loss"] for line in open(path)] for path in sys.argv[1:3])
worst = max(abs(x - y) / abs(x) for x, y in zip(a, b, strict=True))
print(f"  largest difference of the loss {worst:.1e}, allowed {sys.argv[3]}")
sys.exit(not worst <= float(sys.argv[3]))
PYTHON
}
same() {  # name, name
    cmp "$work/$1/model.safetensors" "$work/$2/model.safetensors" && echo "  the same bytes"
}
# Step by step where its time goes, of the fastest step.
phases() {  # name
    python3 - "$work/$1/metrics.jsonl" <<'PYTHON'
import json, sys
steps = [step for step in map(json.loads, open(sys.argv[1])) if "seconds" in step]
best = min(steps, key=lambda step: step["seconds"])
parts = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in best["phases"].items() if seconds > 5e-4)
print(f"  {best['step_tokens'] / best['seconds']:,.0f} tokens per second, peak {best['peak_bytes'] / 2**20:,.0f} MiB; ms: {parts}")
PYTHON
}

echo "Perplexity on the CPU and on the device"
for where in cpu "$device"; do perplexity "$where" >"$work/perplexity-$where.json"; done
python3 - "$work/perplexity-cpu.json" "$work/perplexity-$device.json" <<'PYTHON'
import json, sys
a, b = (json.load(open(path))["perplexity"] for path in sys.argv[1:3])
print(f"  {a:.5f} and {b:.5f}")
sys.exit(not abs(a - b) / a < 1e-3)
PYTHON

"$onebit" init "$teacher" --output "$work/start" --quiet
echo "Distillation on the device against the CPU, in float32"
distill cpu --device cpu --precision float32
distill device --device "$device" --precision float32 --placement resident
compare cpu device 1e-3
phases device
echo "The same run again, byte by byte"
distill again --device "$device" --precision float32 --placement resident
same device again
echo "libtorch's operations in place of this project's kernels"
ONEBIT_DEVICE_KERNELS=0 distill operations --device "$device" --precision float32 --placement resident
compare device operations 1e-3
small=(--latent-storage bfloat16 --moment-storage blocks)
distill small --device "$device" --precision float32 --placement resident "${small[@]}"
ONEBIT_DEVICE_KERNELS=0 distill small-operations --device "$device" --precision float32 --placement resident "${small[@]}"
compare small small-operations 1e-3
if [ "$device" != cpu ]; then
    for placement in host streamed; do
        echo "Placement $placement against resident"
        distill $placement --device "$device" --precision float32 --placement $placement
        compare device $placement 1e-5
    done
fi
for precision in bfloat16 float16; do
    echo "Precision $precision, twice"
    distill $precision --device "$device" --precision $precision
    distill $precision-again --device "$device" --precision $precision
    same $precision $precision-again
    compare cpu $precision 3e-2
    phases $precision
done
echo "The paper's layers and recipe, with a loss on the text"
"$onebit" init "$teacher" --recipe paper --output "$work/paper-start" --quiet
distill paper --start "$work/paper-start" --recipe paper --device "$device" --language-model-weight 0.1
phases paper
echo "The device passes."
