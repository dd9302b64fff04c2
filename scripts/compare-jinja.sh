#!/usr/bin/env bash
# Holds the interpreter of Jinja against jinja2 itself, on templates that are made up, for so many seconds.
#
#   PYTHON=venv/bin/python scripts/compare-jinja.sh [SECONDS] [FIRST SEED]
#
# PYTHON has jinja2 3.1.6 and transformers. Exit 0: all templates gave the same text, or an error of the same kind.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PYTHON:?a Python with jinja2 and transformers}"
seconds=${1:-60} seed=${2:-1} count=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ONEBIT_TESTS=JinjaTests JINJA_EXPRESSIONS="$work/expressions.jsonl"
swift build --build-tests
while [ $SECONDS -lt "$seconds" ]; do
    "$PYTHON" scripts/reference/jinja_expressions.py --random 5000 --seed "$seed" >"$JINJA_EXPRESSIONS"
    count=$((count + $(wc -l <"$JINJA_EXPRESSIONS")))
    if ! swift test --skip-build --filter RenderingTests/goldens >"$work/log" 2>&1; then
        failed=1
        grep -E "difference|error:" "$work/log" | cut -c1-600
    fi
    seed=$((seed + 1))
done
echo "$count templates compared, up to seed $((seed - 1))"
exit $failed
