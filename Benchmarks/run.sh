#!/usr/bin/env bash
# Speed of distillation and generation, beside plain PyTorch where a Python with torch 2.11 and transformers is given:
#
#   make bench PYTHON=/path/to/python [TEACHER=../shared/models/stories260K]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
onebit=${ONEBIT:-.build/release/onebit}
teacher=${TEACHER:-Examples/TinyTeacher/model}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$onebit" synthesize "$teacher" --output "$work/corpus.jsonl" --samples 600 --first-token model --quiet
"$onebit" init "$teacher" --output "$work/start" --quiet >/dev/null
for round in 1 2 3; do
    echo "round $round"
    /usr/bin/time -f '  onebit distill: peak memory %M KiB' "$onebit" distill "$teacher" --start "$work/start" \
        --corpus "$work/corpus.jsonl" --output "$work/student" --overwrite --steps 40 --batch-size 8 \
        --sequence-length 256 --threads 2 2>&1 | grep -E 'peak|distill: [0-9,]+ tokens' | sed 's/^distill/  onebit distill/'
    if [ -n "${PYTHON:-}" ]; then
        printf '  PyTorch, default recipe: '
        "$PYTHON" Benchmarks/peers/distill_pytorch.py "$teacher" --steps 20 --recipe default 2>/dev/null
        printf '  PyTorch, paper recipe: '
        "$PYTHON" Benchmarks/peers/distill_pytorch.py "$teacher" --steps 20 2>/dev/null
    fi
done
"$onebit" pack "$work/student" --output "$work/packed" --quiet >/dev/null
for model in "$teacher" "$work/packed"; do
    "$onebit" generate "$model" --prompt "Once upon a time" --temperature 0 --max-tokens 200 --json |
        sed -n 's/.*"tokens_per_second" : \([0-9]*\).*/  generates \1 tokens per second/p'
done
