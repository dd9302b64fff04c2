#!/usr/bin/env bash
# Scores a served model with lm-evaluation-harness, and compares with `onebit evaluate`: both give the same numbers.
#
#   python3 -m venv .venv && .venv/bin/pip install "lm-eval[api]==0.4.13"
#   Examples/Serving/score.sh output/my-chat-model arc_easy 50
set -euo pipefail
model=${1:?directory of a model}
task=${2:-arc_easy}
limit=${3:-50}
onebit=${ONEBIT:-.build/release/onebit}
lm_eval=${LM_EVAL:-.venv/bin/lm-eval}
port=${PORT:-8089}

"$onebit" serve "$model" --port "$port" &
trap 'kill %1' EXIT
until curl --silent --fail "http://127.0.0.1:$port/health" >/dev/null; do
    kill -0 %1  # ends here if the server has ended
    sleep 0.2
done
# The harness asks for one token more than it scores, and takes this for the whole.
context=$(curl --silent "http://127.0.0.1:$port/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["max_model_len"])')
"$lm_eval" run --model local-completions --tasks "$task" --limit "$limit" \
    --model_args "base_url=http://127.0.0.1:$port/v1/completions,model=onebit,max_length=$((context + 1)),num_concurrent=1"
