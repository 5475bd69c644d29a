#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What only a GPU can show: kernels under compute-sanitizer, models against the CPU, the tests that need
# one, and tuning. Prints what bench/results/kernels_gpu.md has; files stay in OUT.
#
#     scripts/check_gpu.sh BUILD_DIR OUT [PART...]
#
# Parts (default: all): sanitize, models, tests, tune, exhaustive, bench. Needs the programs paro, check_kernels_gpu,
# check_model_gpu, test_cmd_gpu and test_lib_gpu in BUILD_DIR, NVRTC, and for `sanitize`
# compute-sanitizer. Models are models/demo and those of the folder PARO_SHARED (../shared).
set -uo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: scripts/check_gpu.sh BUILD_DIR OUT [PART...]}
out=${2:?usage: scripts/check_gpu.sh BUILD_DIR OUT [PART...]}
shift 2
[ $# -gt 0 ] || set -- sanitize models tests tune exhaustive bench
shared=${PARO_SHARED:-../shared}
mkdir -p "$out"
n_failed=0

# One of each family, small and odd, with several configs each.
kernels=(
    rotate:h=384,m=5,group=32,krot=3,dtype=f32,outputs=3
    rotate:h=512,m=4,group=128,krot=8,dtype=f16
    norm:h=387,m=3,dtype=f16,add=1
    rope:heads=6,kv_heads=2,head_dim=64,m=5,dtype=f16,qk_norm=1
    swiglu:n=1001,m=3,dtype=f16
    embed:vocab=100,h=129,m=9,dtype=f16
    sample:vocab=5001,m=3
    attention:heads=6,kv_heads=2,head_dim=64,m=7,dtype=f16,ctx=300
    attention:heads=8,kv_heads=4,head_dim=64,m=1,dtype=f16,ctx=500
    pack_w4:n=264,k=384,group=32,parts=136+128,layout=mma16
    pack_w4:n=264,k=384,group=128,parts=136+128,layout=awq
    linear_16:n=1000,k=520,m=5,dtype=f16,out=f32,bias=1
    linear_w4:n=528,k=384,m=5,group=32,krot=3,dtype=f16,parts=264+8+256,bias=1
    linear_w4:n=512,k=768,m=1,group=128,krot=8,dtype=bf16
    linear_w4:n=256,k=256,m=64,group=64,krot=8,dtype=f16
    read:bytes=100016
)
w4=group=128,krot=8,dtype=f16
linears=()
for m in 1 16; do
    linears+=(--problem "linear_w4:n=6144,k=4096,m=$m,$w4,parts=4096+1024+1024"
        --problem "linear_w4:n=28672,k=4096,m=$m,$w4,parts=14336+14336"
        --problem "linear_w4:n=1024,k=4096,m=$m,$w4")
done
decoder=(--model models/shapes/llama-3-8b --buckets 1,2,4,8,16,32)

check() { # NAME COMMAND... : its output goes to OUT/NAME.txt
    local name=$1
    shift
    "$@" >"$out/$name.txt" 2>&1 && return 0
    echo "FAILED: $name (exit code $?; $out/$name.txt)"
    n_failed=$((n_failed + 1))
    return 1
}

sanitize() {
    local tool
    for tool in memcheck racecheck initcheck; do
        check "kernels_$tool" compute-sanitizer --error-exitcode 9 --tool $tool \
            "$build/check_kernels_gpu" -n 6 "${kernels[@]}"
        echo "$tool, kernels: $(grep -c ' 0 wrong' "$out/kernels_$tool.txt") of ${#kernels[@]} problems right; $(grep SUMMARY "$out/kernels_$tool.txt")"
        PARO_CACHE=$out/sanitize.db check "run_$tool" compute-sanitizer --error-exitcode 9 \
            --tool $tool "$build/paro" run models/demo --device cuda:0 -p 'The history of' -n 12
        echo "$tool, generation: $(grep SUMMARY "$out/run_$tool.txt")"
    done
}

models() {
    local found=(models/demo) name
    for name in llama-PARO qwen3 llama; do
        [ -r "$shared/models/$name/config.json" ] && found+=("$shared/models/$name")
    done
    check models "$build/check_model_gpu" --text "$shared/texts/wikitext2_test.txt" \
        --tokens 19968 --cache "$out/models.db" "${found[@]}"
    grep -E '^[^ ].* on .*: |^  (logits|perplexity|opened)' "$out/models.txt"
}

tests() {
    local name
    for name in test_cmd_gpu test_lib_gpu; do
        check "$name" "$build/$name"
        grep -aE '^\[ *(PASSED|FAILED|SKIPPED)|^SKIP' "$out/$name.txt"
    done
}

tune() {
    local run
    for run in first second; do
        rm -f "$out/$run.db"
        PARO_CACHE=$out/$run.db check "tune_$run" "$build/paro" tune --quiet "${decoder[@]}" "${linears[@]}"
        tail -n 1 "$out/tune_$run.txt"
    done
    check compare scripts/compare_winners.py "$out/first.db" "$out/second.db"
    tail -n 1 "$out/compare.txt"
}

exhaustive() { # after tune
    rm -f "$out/exhaustive.db"
    PARO_CACHE=$out/exhaustive.db check exhaustive "$build/paro" tune --quiet \
        --strategy exhaustive "${linears[@]}"
    tail -n 1 "$out/exhaustive.txt"
    check compare_exhaustive scripts/compare_winners.py "$out/first.db" "$out/exhaustive.db"
    tail -n 1 "$out/compare_exhaustive.txt"
}

bench() {
    local cache=$out/first.db
    PARO_CACHE=$cache check bench "$build/paro" bench kernels --quiet --library "${linears[@]}" \
        --problem "linear_w4:n=4096,k=4096,m=1,$w4" --problem "linear_w4:n=4096,k=14336,m=1,$w4"
    cat "$out/bench.txt"
    PARO_CACHE=$cache check spills "$build/paro" kernel check --quiet \
        --model models/shapes/llama-3-8b --model models/demo
    cat "$out/spills.txt"
}

"$build/paro" version
for part in "$@"; do
    echo "== $part"
    case $part in
        sanitize | models | tests | tune | exhaustive | bench) "$part" ;;
        *) echo "check_gpu: there is no part '$part'" >&2; exit 2 ;;
    esac
done
echo "$n_failed failed"
[ $n_failed -eq 0 ]
