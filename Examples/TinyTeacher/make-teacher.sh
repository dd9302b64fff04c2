#!/usr/bin/env bash
# How `model/` and `held-out.jsonl` beside this script were made: stories by the grammar in Stories/, a tokenizer and a
# LLaMA of one million parameters trained on them. Held-out stories have a seed of their own.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

swiftc -O Stories/*.swift -o "$work/stories"
"$work/stories" --count 24000 --seed 1 >"$work/train.jsonl"
"$work/stories" --count 300 --seed 20261123 >held-out.jsonl
"${ONEBIT:-../../.build/release/onebit}" pretrain "$work/train.jsonl" --output model --overwrite \
    --vocabulary-size 512 --hidden-size 160 --intermediate-size 432 --layers 3 --heads 5 --context 256 \
    --steps 1000 --batch-size 16 --learning-rate 4e-3 --seed 1 --threads 2
"${ONEBIT:-../../.build/release/onebit}" perplexity model --text held-out.jsonl --window 256 --bos each
