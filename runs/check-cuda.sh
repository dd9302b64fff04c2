#!/usr/bin/env bash
# What a machine with a CUDA device has to show before a long run: the device computes what the CPU does, every placement
# what the others do, and the same run gives the same bytes. A few minutes with a model of 100 million parameters.
#
#   make setup CUDA=1 && make build
#   runs/check-cuda.sh /models/smollm2-135m text.jsonl /tmp/check-cuda
set -euo pipefail
teacher=${1:?directory of the teacher}
corpus=${2:?text to train on: JSON lines, or plain}
work=${3:?directory to work in, which must not exist}
onebit=${ONEBIT:-.build/release/onebit}
mkdir "$work"

perplexity() {
    "$onebit" perplexity "$teacher" --text "$corpus" --window 512 --limit-windows 4 --device "$1" --json --quiet
}
distill() {  # name, further options
    local name=$1
    shift
    "$onebit" distill "$teacher" --start "$work/start" --corpus "$corpus" --output "$work/$name" --steps 8 \
        --batch-size 4 --sequence-length 256 --quiet "$@"
}
# The losses of two runs, step by step.
compare() {  # name, name, largest relative difference
    python3 - "$work/$1/training_log.jsonl" "$work/$2/training_log.jsonl" "$3" <<'EOF'
import json, sys
a, b = ([json.loads(line)["loss"] for line in open(path)] for path in sys.argv[1:3])
worst = max(abs(x - y) / abs(x) for x, y in zip(a, b))
print(f"  largest difference of the loss {worst:.1e}, allowed {sys.argv[3]}")
sys.exit(worst > float(sys.argv[3]))
EOF
}

echo "Perplexity on the CPU and on the device"
for device in cpu cuda; do perplexity $device >"$work/perplexity-$device.json"; done
grep -H '"perplexity" :' "$work"/perplexity-*.json

"$onebit" init "$teacher" --output "$work/start" --quiet
echo "Distillation on the device against the CPU"
distill cpu --device cpu
distill resident --device cuda --placement resident
compare cpu resident 1e-3
echo "The same run again, byte by byte"
distill again --device cuda --placement resident
cmp "$work/resident/model.safetensors" "$work/again/model.safetensors"
for placement in host streamed; do
    echo "Placement $placement against resident"
    distill $placement --device cuda --placement $placement
    compare resident $placement 1e-5
done
echo "The device passes."
