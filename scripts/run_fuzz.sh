#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs every fuzz harness of a build for some seconds, two at a time, from its corpus.
#
#     scripts/run_fuzz.sh BUILD_DIR SECONDS [HARNESS...]
#
# What is found stays in BUILD_DIR/found/HARNESS; inputs that reach new code go to a copy of the corpus
# in BUILD_DIR/corpus. The last line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: scripts/run_fuzz.sh BUILD_DIR SECONDS [HARNESS...]}
seconds=${2:?usage: scripts/run_fuzz.sh BUILD_DIR SECONDS [HARNESS...]}
shift 2
harnesses=("$@")
if [ ${#harnesses[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        harnesses+=("$(basename "$source" .c)")
    done
fi
mkdir -p "$build/logs"

fuzz() { # HARNESS
    local name=${1#fuzz_} rc=0
    local corpus=$build/corpus/$name found=$build/found/$name log=$build/logs/$1.log
    mkdir -p "$corpus" "$found"
    if [ -z "$(ls "tests/fuzz/corpus/$name" 2>/dev/null)" ]; then
        echo "$1: no corpus in tests/fuzz/corpus/$name" | tee "$log"
        return 1
    fi
    # libFuzzer takes one dictionary: the harness's own words and those of JSON.
    local words=("tests/fuzz/dict/$name.dict")
    [ "$name" = recipe ] || words+=(tests/fuzz/dict/json.dict)
    cat "${words[@]}" >"$build/$name.dict" || return 1
    "$build/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$found/" -dict="$build/$name.dict" "$corpus" "tests/fuzz/corpus/$name" \
        </dev/null >"$log" 2>&1 || rc=$?
    if [ $rc -ne 0 ]; then
        tail -n 60 "$log"
        echo "$1: FAILED (exit code $rc): inputs in $found, log $log"
        return 1
    fi
    printf '%-20s %9s runs, %s features\n' "$1" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
        "$(grep -ao 'ft: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)"
}

passed=0 failed=0
for ((i = 0; i < ${#harnesses[@]}; i += 2)); do
    pids=()
    for harness in "${harnesses[@]:i:2}"; do
        fuzz "$harness" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        if wait "$pid"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
