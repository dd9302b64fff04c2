#!/usr/bin/env bash
# A LLaMA-7B checkpoint to one bit per weight with the paper's recipe and budget: 132,000 samples of up to 2,048 tokens,
# 50 passes. Each stage by itself, so that each can be stopped (Ctrl-C) and resumed (call the script again).
#
#   runs/compress-llama-7b.sh /models/llama-7b /work/llama-7b-onebit
#
# By count, not by trial: start and student are 27 GB each in fp32, a training checkpoint 81 GB (weights and two moments),
# and up to three of these stand while one is being written: 300 GB beside the teacher.
set -euo pipefail
teacher=${1:?directory of the teacher}
output=${2:?directory to make}
onebit=${ONEBIT:-.build/release/onebit}

[ -d "$output.start" ] || "$onebit" init "$teacher" --output "$output.start" --recipe paper
[ -f "$output.corpus.jsonl" ] ||
    "$onebit" synthesize "$teacher" --output "$output.corpus.jsonl" --recipe paper --resume
[ -d "$output.student" ] ||
    "$onebit" distill "$teacher" --start "$output.start" --corpus "$output.corpus.jsonl" --output "$output.student" \
        --recipe paper --checkpoint-every 500 --resume
"$onebit" pack "$output.student" --output "$output"
"$onebit" inspect "$output"
