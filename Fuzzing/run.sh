#!/usr/bin/env bash
# Builds the fuzz targets and runs one of them, or all one after another.
#
#   Fuzzing/run.sh [target|all] [seconds]     60 seconds for each target unless you say otherwise
#   Fuzzing/run.sh target FILE…               runs the inputs in files once each: what a run has found
#
# What a run learns stays in .build-fuzz/corpus and is where the next one goes on; what it finds is in .build-fuzz/found.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

targets=(safetensors shard-index pytorch gguf config tokenizer-json tokenizer-model tekken vocabulary-files jinja chat-template)
build=.build-fuzz
# Seconds of wall time, so a machine that is busy with other things needs more.
timeout=${TIMEOUT:-10}
export ONEBIT_TRAINING=0

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    echo "Targets: ${targets[*]}" >&2
    exit 64
}

chosen=${1:-all}
if [[ $chosen == all ]]; then
    chosen=("${targets[@]}")
elif [[ " ${targets[*]} " == *" $chosen "* ]]; then
    chosen=("$chosen")
else
    usage
fi
shift || true

# Optimised, and yet with the checks of a debug build: the standard library checks unsafe buffers in no other. Planned anew
# each time: SwiftPM keeps its plan while this package's own files stay, and would miss new ones of the package above.
swift build --package-path Fuzzing --scratch-path "$build" --configuration release ${JOBS:+--jobs "$JOBS"} \
    --disable-build-manifest-caching --sanitize fuzzer -Xswiftc -sanitize=fuzzer,address \
    -Xswiftc -assert-config -Xswiftc Debug -Xswiftc -g

# Inputs are files; in memory they cost little.
ONEBIT_FUZZ_SCRATCH=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo /tmp)" onebit-fuzz.XXXXXX)
export ONEBIT_FUZZ_SCRATCH
trap 'rm -rf "$ONEBIT_FUZZ_SCRATCH"' EXIT
# libFuzzer reports crashes; Swift's own backtrace would take seconds more.
export SWIFT_BACKTRACE=enable=no
export LSAN_OPTIONS=suppressions=Fuzzing/leak-suppressions.txt:print_suppressions=0

if [[ $# -gt 0 && -f $1 ]]; then
    "$build/release/${chosen[0]}" -rss_limit_mb=2048 -timeout="$timeout" "$@"
    exit
fi
seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || usage

failed=0
for target in "${chosen[@]}"; do
    mkdir -p "$build/corpus/$target" "$build/found/$target"
    printf '\n=== %s, %s s (%s) ===\n' "$target" "$seconds" "$(date +%H:%M:%S)"
    # A single allocation of more than 64 MiB for a file of 8 KiB is a finding of its own.
    "$build/release/$target" -max_total_time="$seconds" -max_len=8192 -timeout="$timeout" -rss_limit_mb=2048 \
        -malloc_limit_mb=64 -dict="Fuzzing/Dictionaries/$target.dict" -artifact_prefix="$build/found/$target/" \
        -print_final_stats=1 "$build/corpus/$target" "Fuzzing/Seeds/$target" || failed=1
done
exit "$failed"
