#!/usr/bin/env bash
# `make demo`: compresses the tiny model beside this script to one bit per weight, holds the result against the
# original, and lets both tell a story. Setup and build have happened by now.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$here/../.."

readonly onebit=${ONEBIT:-.build/release/onebit}
readonly teacher=Examples/TinyTeacher/model
readonly held_out=Examples/TinyTeacher/heldout.txt # stories that neither model was trained on
readonly start=output/tiny-start                   # signs and value vectors before any training
readonly student=output/tiny-onebit
readonly window=256
readonly prompt="Once upon a time"

if ! [ -x "$onebit" ]; then
    echo "demo: error: $onebit is not built; run 'make demo', which builds it." >&2
    exit 1
fi
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# value KEY REPORT: a number or a string of a JSON report, which has one key a line.
value() { sed -n "s/^ *\"$1\" : \"\{0,1\}\(.*[^\",]\)\"\{0,1\},\{0,1\}\$/\1/p" "$reports/$2.json" | head -n 1; }

mkdir -p output

say "Compressing $teacher"
seconds=$SECONDS
"$onebit" compress "$teacher" --output "$student" --overwrite
seconds=$((SECONDS - seconds))
# The student as it was before training, to see what distillation brought.
"$onebit" init "$teacher" --output "$start" --overwrite --quiet

say "Measuring"
for name in teacher start student; do
    "$onebit" inspect "${!name}" --json >"$reports/inspect-$name.json"
    "$onebit" perplexity "${!name}" --text "$held_out" --window "$window" --json >"$reports/perplexity-$name.json"
done
for name in teacher student; do
    "$onebit" generate "${!name}" --prompt "$prompt" --max-tokens 200 --temperature 0 --json \
        >"$reports/generate-$name.json"
done

say "What became of the model (compressed in $seconds s)"
row() { printf '%-16s %14s %12s %14s %12s %12s %10s\n' "$@"; }
row "" "linear bytes" "bits/weight" "model bytes" "bits/weight" "perplexity" "tokens/s"
for name in teacher start student; do
    speed=-
    [ -f "$reports/generate-$name.json" ] && speed=$(value tokens_per_second "generate-$name")
    row "$name" "$(value linear_bytes "inspect-$name")" "$(value linear_bits_per_weight "inspect-$name")" \
        "$(value total_bytes "inspect-$name")" "$(value bits_per_weight "inspect-$name")" \
        "$(value perplexity "perplexity-$name")" "$speed"
done
echo "Perplexity per token of $held_out with the model's own tokenizer, windows of $window; start: before training."

for name in teacher student; do
    say "A story by the $name"
    printf '%b\n' "$(value text "generate-$name" | sed 's/\\"/"/g')" # JSON's \n and \" as they were
done
