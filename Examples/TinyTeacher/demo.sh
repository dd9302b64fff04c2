#!/usr/bin/env bash
# `make demo`: compresses the tiny model beside this script to one bit per weight. `onebit compress` itself holds the
# result against the original on stories that neither has seen, and lets each tell one.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

readonly onebit=${ONEBIT:-.build/release/onebit}
readonly teacher=Examples/TinyTeacher/model

if ! [ -x "$onebit" ]; then
    echo "demo: error: $onebit is not built; run 'make demo', which builds it." >&2
    exit 1
fi
mkdir -p output
rm -rf output/tiny-onebit.work # of a run that was stopped

"$onebit" compress "$teacher" --output output/tiny-onebit --overwrite --steps 400 --samples 1500 \
    --text Examples/TinyTeacher/held-out.jsonl --prompt "Once upon a time"

echo "The packed model is in output/tiny-onebit. Another story:"
"$onebit" generate output/tiny-onebit --prompt "Once upon a time" --temperature 0.8 --seed "$RANDOM" --max-tokens 250
