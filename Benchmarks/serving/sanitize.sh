#!/usr/bin/env bash
# A server under AddressSanitizer or ThreadSanitizer at saturation, with clients that leave. A report ends it.
#
#   Benchmarks/serving/sanitize.sh address|thread MODEL [minutes]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
sanitizer=${1:?address or thread}
model=${2:?a small packed model: it runs many times slower}
minutes=${3:-10}
build=.build-sanitize/server-$sanitizer

ONEBIT_TRAINING=0 swift build --configuration release --product onebit --sanitize="$sanitizer" -Xswiftc -use-ld=lld \
    --scratch-path "$build"
# The stack's depth is measured by Jinja, so locals stay on it; Swift's runtime keeps what it allocates once.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0
export TSAN_OPTIONS=halt_on_error=1
python3 Benchmarks/serving/endurance.py saturate "$model" --onebit "$build/release/onebit" --minutes "$minutes" \
    --clients 12 --log "$build/server.log" || {
    tail -n 60 "$build/server.log" >&2
    exit 1
}
