#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# NVRTC, the compiler of CUDA kernels, without a CUDA toolkit: two libraries from NVIDIA's wheel on
# PyPI, of one version, checked against its SHA-256, in build/nvrtc (or FOLDER), where paro looks
# for them. About 90 MB are loaded, 115 MB stay. Nothing runs that was loaded.
#
#     scripts/fetch_nvrtc.sh [--check | --if-missing | --force] [FOLDER]
#
# --if-missing does nothing where there is an NVRTC that paro would find, --check only tells by its
# exit code whether there is one, --force loads again. NVRTC is under NVIDIA's licence
# (https://docs.nvidia.com/cuda/eula), not paro's. Exit code: 0 it is there, 1 not.
set -euo pipefail
cd "$(dirname "$0")/.."

version=13.0.88
site=https://files.pythonhosted.org/packages
case $(uname -m) in
    x86_64)
        wheel=nvidia_cuda_nvrtc-$version-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl
        url=$site/c3/68/483a78f5e8f31b08fb1bb671559968c0ca3a065ac7acabfc7cee55214fd6/$wheel
        hash=ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
        ;;
    aarch64)
        wheel=nvidia_cuda_nvrtc-$version-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl
        url=$site/b7/dc/6bb80850e0b7edd6588d560758f17e0550893a1feaf436807d64d2da040f/$wheel
        hash=d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b
        ;;
    *)
        echo "fetch_nvrtc: NVIDIA has NVRTC for x86_64 and aarch64; this is $(uname -m)" >&2
        exit 1
        ;;
esac
libraries=(libnvrtc.so.13 libnvrtc-builtins.so.13.0)

check=0 if_missing=0 force=0 folder=build/nvrtc
for arg in "$@"; do
    case $arg in
        --check) check=1 ;;
        --if-missing) if_missing=1 ;;
        --force) force=1 ;;
        -h | --help) sed -n 's/^# \{0,1\}//; 4,14p' "$0"; exit 0 ;;
        -*) echo "fetch_nvrtc: expected --check, --if-missing, --force or a folder;" \
                "found '$arg'" >&2; exit 2 ;;
        *) folder=$arg ;;
    esac
done

# As codegen/nvrtc.c searches.
found_elsewhere() {
    if [ -n "${PARO_NVRTC:-}" ]; then
        [ -e "$PARO_NVRTC" ]
        return
    fi
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null |
        grep -E 'libnvrtc\.so\.1[23]( |$)' >/dev/null && return
    local dir
    while IFS= read -r dir; do
        [ -n "$dir" ] && compgen -G "$dir/libnvrtc.so.1[23]" >/dev/null && return
    done < <(tr ':' '\n' <<<"${LD_LIBRARY_PATH:-}")
    [ -e /usr/local/cuda/lib64/libnvrtc.so ]
}

fetched() {
    [ -s "$folder/${libraries[0]}" ] && [ -s "$folder/${libraries[1]}" ]
}

if [ $check = 1 ]; then
    found_elsewhere || fetched
    exit
fi
if [ $if_missing = 1 ] && found_elsewhere; then
    echo "fetch_nvrtc: this machine has an NVRTC"
    exit 0
fi
if [ $force = 0 ] && fetched; then
    echo "fetch_nvrtc: NVRTC $version is in $folder"
    exit 0
fi
if [ "${PARO_NO_INSTALL:-0}" != 0 ]; then
    echo "fetch_nvrtc: no NVRTC here; without PARO_NO_INSTALL this would load $url" >&2
    exit 1
fi
for tool in curl unzip sha256sum; do
    command -v $tool >/dev/null || { echo "fetch_nvrtc: needs $tool; install it" >&2; exit 1; }
done

mkdir -p "$folder"
part=$(mktemp -d "$folder/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
echo "fetch_nvrtc: loading NVRTC $version (90 MB) from $site"
if ! curl --fail --silent --show-error --location --retry 3 --output "$part/$wheel" "$url"; then
    echo "fetch_nvrtc: cannot load $url; tell where another NVRTC is with PARO_NVRTC" >&2
    exit 1
fi
if ! sha256sum --check --status <<<"$hash  $part/$wheel"; then
    echo "fetch_nvrtc: $wheel: expected SHA-256 $hash, found $(sha256sum <"$part/$wheel")" >&2
    exit 1
fi
unzip -q -j "$part/$wheel" "${libraries[@]/#/nvidia/cu13/lib/}" '*.dist-info/*icense*' -d "$part" ||
    { echo "fetch_nvrtc: cannot unpack $wheel" >&2; exit 1; }
chmod 644 "$part"/*
for file in "$part"/*; do
    [ "$file" = "$part/$wheel" ] || mv -f "$file" "$folder/"
done
echo "fetch_nvrtc: NVRTC $version is in $folder"
