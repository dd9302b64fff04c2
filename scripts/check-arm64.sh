#!/usr/bin/env bash
# Builds the kernels for 64-bit Arm and holds them against plain loops under an emulator. On Debian it needs
#     apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
# and clang (Swift's will do).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

for tool in clang qemu-aarch64 aarch64-linux-gnu-gcc; do
    if ! command -v "$tool" >/dev/null; then
        echo "check-arm64: error: $tool is missing; see the head of $0." >&2
        exit 1
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clang --target=aarch64-linux-gnu --gcc-toolchain=/usr -I /usr/aarch64-linux-gnu/include --ld-path=/usr/bin/aarch64-linux-gnu-ld \
    -O2 -Wall -Wextra -static -I Sources/CSignKernels/include Sources/CSignKernels/*.c \
    Tests/CrossCheck/sign_kernels_check.c -lm -o "$work/check"
qemu-aarch64 "$work/check"
