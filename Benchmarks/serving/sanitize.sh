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
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:quarantine_size_mb=16
export TSAN_OPTIONS=halt_on_error=1
program=$build/release/onebit
if [ "$sanitizer" = thread ]; then
    clang -shared -fPIC -O1 -o "$build/tsan_mutex.so" Benchmarks/serving/tsan_mutex.c -ldl
    printf '#!/bin/sh\nLD_PRELOAD=%q exec %q "$@"\n' "$PWD/$build/tsan_mutex.so" "$PWD/$program" >"$build/onebit"
    chmod +x "$build/onebit"
    program=$build/onebit
fi
python3 Benchmarks/serving/endurance.py saturate "$model" --onebit "$program" --minutes "$minutes" \
    --clients 12 --log "$build/server.log" || {
    tail -n 60 "$build/server.log" >&2
    exit 1
}
