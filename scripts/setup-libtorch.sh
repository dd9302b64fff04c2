#!/usr/bin/env bash
# Brings libtorch into .deps: the C++ library and headers out of PyPI's `torch` wheel, and two small NVIDIA libraries
# that libtorch_cpu.so names among its own (they do nothing on a machine without a GPU).
#
# Layout, which is the wheels' own, so that libtorch_cpu.so finds its neighbours by its RPATH:
#   .deps/torch/lib  .deps/torch/include  .deps/nvidia/cu13/lib  .deps/complete (what is installed, written last)
#
# Usage: scripts/setup-libtorch.sh [folder]      (folder: .deps beside this script's folder, unless given)
# pip's own settings hold, PIP_INDEX_URL for a mirror among them.
set -euo pipefail

readonly least_swift=6.1
# Wheel and pip's copy of it while downloading; afterwards wheel and what comes out of it.
readonly megabytes_to_download=1200 megabytes_to_unpack=600

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf 'setup:   %s\n' "$@" >&2; fi
    exit 1
}

# --- What this machine has to have ------------------------------------------------------------------------------------

[ "$(uname -s)" = Linux ] || fail "this script knows Linux only, not $(uname -s)." \
    "Build without training: make build TRAINING=0"

# PyPI's sha256 of each wheel. A wheel with another sum is refused.
architecture=$(uname -m)
case $architecture in
    x86_64)
        torch=7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
        cuda_runtime=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
        cuda_cupti=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
        ;;
    aarch64)
        torch=d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6
        cuda_runtime=ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
        cuda_cupti=796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151
        ;;
    *)
        fail "wrong architecture: PyPI has libtorch for x86_64 and aarch64, not for $architecture." \
            "Build without training: make build TRAINING=0"
        ;;
esac
requirements="torch==2.11.0 --hash=sha256:$torch
nvidia-cuda-runtime==13.0.96 --hash=sha256:$cuda_runtime
nvidia-cuda-cupti==13.0.85 --hash=sha256:$cuda_cupti"

check_swift() {
    command -v swift >/dev/null || fail "Swift is missing; version $least_swift or newer is needed." \
        "Install it from https://www.swift.org/install/linux and put its usr/bin on PATH."
    local version
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
    [ -n "$version" ] || fail "'swift --version' does not say its version." "Is $(command -v swift) whole?"
    [ "$(printf '%s\n%s\n' "$least_swift" "$version" | sort -V | head -n 1)" = "$least_swift" ] ||
        fail "Swift $version is too old; version $least_swift or newer is needed." \
            "Install it from https://www.swift.org/install/linux and put its usr/bin on PATH."
    say "Swift $version"
}

check_tools() {
    local missing=()
    command -v python3 >/dev/null || missing+=(python3)
    if ! command -v python3 >/dev/null || ! python3 -m pip --version >/dev/null 2>&1; then missing+=(python3-pip); fi
    command -v unzip >/dev/null || missing+=(unzip)
    [ ${#missing[@]} -eq 0 ] || fail "missing: ${missing[*]}" "apt-get install ${missing[*]}"
}

# --- Folders ----------------------------------------------------------------------------------------------------------

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly project folder=${1:-$project/.deps}
readonly downloads=$folder/downloads unpacked=$folder/unpacked stamp=$folder/complete

# True if `folder` holds all that a build opens.
has_libtorch() {
    [ -f "$folder/torch/lib/libtorch_cpu.so" ] && [ -f "$folder/torch/lib/libc10.so" ] &&
        [ -f "$folder/torch/include/ATen/ATen.h" ] && [ -f "$folder/nvidia/cu13/lib/libcudart.so.13" ] &&
        [ -f "$folder/nvidia/cu13/lib/libcupti.so.13" ]
}

is_complete() { has_libtorch && [ "$(cat "$stamp" 2>/dev/null)" = "$requirements" ]; }

# Stops early if the disk has less free than `$1` megabytes.
check_space() {
    local free
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$1" ] || fail "no space: $folder needs $1 MB free and has $free MB."
}

megabytes() { du -sm "$@" | awk '{ sum += $1 } END { print sum + 0 }'; }

# --- Stages -----------------------------------------------------------------------------------------------------------

# Leaves the three wheels in `downloads`, their sums checked. Those of an interrupted run are taken again if whole.
download() {
    mkdir -p "$downloads"
    if sums_match; then
        say "wheels: already downloaded"
        return
    fi
    rm -rf "$downloads"
    check_space "$megabytes_to_download"
    mkdir -p "$downloads/temporary"
    printf '%s\n' "$requirements" >"$downloads/requirements.txt"
    say "wheels: downloading torch 2.11.0 and two small ones from PyPI (about 540 MB)"
    local log=$downloads/pip.log options=(--no-deps --only-binary=:all: --require-hashes --no-cache-dir
        --disable-pip-version-check --python-version 311 --implementation cp --abi cp311 --abi none)
    local glibc
    for glibc in manylinux_2_28 manylinux_2_25 manylinux_2_17 manylinux2014; do
        options+=(--platform "${glibc}_$architecture")
    done
    # TMPDIR: pip's copy lies on the disk whose space was checked, and goes with this folder.
    if ! TMPDIR=$downloads/temporary python3 -m pip download "${options[@]}" --log "$log" \
        --requirement "$downloads/requirements.txt" --dest "$downloads"; then
        explain_failed_download "$log"
    fi
    rm -rf "$downloads/temporary"
}

sums_match() {
    local sums
    sums=$(cd "$downloads" && sha256sum -- *.whl 2>/dev/null) || return 1
    local sum
    for sum in "$torch" "$cuda_runtime" "$cuda_cupti"; do
        case $sums in *"$sum"*) ;; *) return 1 ;; esac
    done
}

explain_failed_download() {
    local log=$1 reason
    if grep -q "DO NOT MATCH THE HASHES" "$log"; then
        reason="a wheel's checksum is not the one that this script expects: it was damaged or replaced."
    elif grep -qE "No space left on device|Errno 28" "$log"; then
        reason="no space left on the disk of $folder."
    elif grep -qE "NewConnectionError|ConnectTimeout|NameResolutionError|Name or service not known|Temporary failure in name|Connection (refused|broken|reset|aborted)|Network is unreachable|Read timed out|ProxyError|SSLError" "$log"; then
        reason="no network: PyPI (or the index that pip is set to) cannot be reached."
    else
        reason="pip could not download the wheels."
    fi
    rm -rf "$downloads"
    fail "$reason" "pip's own message stands above. Nothing was installed; run 'make setup' again."
}

# Unpacks what a CPU build opens into `unpacked`.
unpack() {
    check_space "$megabytes_to_unpack"
    say "unpacking torch/lib and torch/include (about 500 MB)"
    # No input: on a full disk unzip would ask whether to go on.
    exec </dev/null
    # CUDA kernels, Python bindings and NVSHMEM are half of the wheel, and nothing here loads them.
    unzip -q "$downloads"/torch-*.whl 'torch/lib/*' 'torch/include/*' -d "$unpacked" \
        -x 'torch/lib/libtorch_cuda*' 'torch/lib/libtorch_python*' 'torch/lib/libtorch_nvshmem*' ||
        fail "the torch wheel could not be unpacked; see unzip's message above."
    unzip -q "$downloads"/nvidia_cuda_runtime-*.whl 'nvidia/cu13/lib/libcudart.so.13' -d "$unpacked" ||
        fail "the nvidia-cuda-runtime wheel could not be unpacked; see unzip's message above."
    unzip -q "$downloads"/nvidia_cuda_cupti-*.whl 'nvidia/cu13/lib/libcupti.so.13' -d "$unpacked" ||
        fail "the nvidia-cuda-cupti wheel could not be unpacked; see unzip's message above."
}

# Puts what was unpacked in its place. The stamp goes first and comes last: between them nothing looks finished.
install() {
    rm -rf "$stamp" "$folder/torch" "$folder/nvidia"
    mv "$unpacked/torch" "$unpacked/nvidia" "$folder/"
    has_libtorch || fail "the wheels do not hold the files that they should."
    printf '%s\n' "$requirements" >"$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -rf "$downloads"
}

check_swift
if [ -L "$folder" ] && has_libtorch; then
    say "$folder is a link to $(readlink -f "$folder"), which has libtorch: left as it is"
    exit 0
fi
if is_complete; then
    say "libtorch 2.11.0 is in $folder already ($(megabytes "$folder") MB): nothing to do"
    exit 0
fi
check_tools
mkdir -p "$folder" || fail "$folder cannot be made."
# Two runs at once would unpack into each other's folder.
exec 9>"$folder/lock"
flock 9
if is_complete; then
    say "another run has brought libtorch meanwhile"
    exit 0
fi
rm -rf "$unpacked"
trap 'rm -rf "$unpacked" "$downloads/temporary"' EXIT

download
unpack
install
say "libtorch 2.11.0 is in $folder ($(megabytes "$folder/torch" "$folder/nvidia") MB)"
