#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs the tests of a build folder, or only the programs named, and counts their cases.
#
#     scripts/run_tests.sh BUILD_DIR [TEST...]
#
# The log of every program stays in BUILD_DIR/logs/TEST.log. What failed is shown in full; every line
# "SKIP …" of every log is shown. The last line is "N passed, N failed, N skipped" (cases).
# JOBS programs run at a time (as many as there are cores).
# PARO_TEST_WRAPPER may hold a command to put in front of every program.
set -uo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: scripts/run_tests.sh BUILD_DIR [TEST...]}
shift
logs=$build/logs
rm -rf "$logs"
mkdir -p "$logs"

if [ $# -gt 0 ]; then
    tests=("$@")
else
    tests=()
    for source in tests/test_*.c; do
        tests+=("$(basename "$source" .c)")
    done
fi
read -r -a wrapper <<<"${PARO_TEST_WRAPPER:-}"

# Tests ask for more memory than there is, to see it refused.
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1:detect_stack_use_after_return=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-allocator_may_return_null=1:halt_on_error=1:suppressions=$PWD/tests/tsan.supp}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# One program; its exit code and seconds stay beside its log.
run_one() { # TEST
    local started=$SECONDS rc=0
    timeout 900 "${wrapper[@]}" "$build/$1" </dev/null >"$logs/$1.log" 2>&1 || rc=$?
    # Thread-local memory of libraries that come and go (emulated kernels) crashes LeakSanitizer's look
    # at it, now and then (gcc 12): once more, without that look.
    if [ $rc -ne 0 ] && grep -aq 'LeakSanitizer has encountered a fatal error' "$logs/$1.log"; then
        rc=0
        LSAN_OPTIONS=use_tls=0:suppressions=$PWD/tests/lsan.supp timeout 900 "${wrapper[@]}" \
            "$build/$1" </dev/null >"$logs/$1.log" 2>&1 || rc=$?
    fi
    echo "$rc $((SECONDS - started))" >"$logs/$1.rc-partial"
    mv "$logs/$1.rc-partial" "$logs/$1.rc"
}

passed=0 failed=0 skipped=0 failed_programs=()
count() { # TEST
    local test=$1 log=$logs/$1.log rc=1 seconds=0 ok skips bad word=ok
    read -r rc seconds <"$logs/$test.rc"

    # cmocka prints one of these lines a case, and lists failures again at the end.
    ok=$(grep -ac '^\[ *OK *\] ' "$log")
    skips=$(grep -a '^\[ *SKIPPED *\] ' "$log" | grep -avE '\] [0-9]+ test\(s\)' | sort -u | wc -l)
    bad=$(grep -a '^\[ *FAILED *\] ' "$log" | grep -avE '\] [^:]*: ?[0-9]+ test\(s\)|\] [0-9]+ test\(s\)' |
        sort -u | wc -l)
    if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 # died, or was stopped, before it could say so
    elif [ "$rc" -eq 0 ] && [ "$bad" -eq 0 ] && [ $((ok + skips)) -eq 0 ]; then
        bad=1
        echo "$test printed no result of any case" >>"$log"
    fi
    if [ "$bad" -gt 0 ]; then
        word="FAILED (exit code $rc)"
        failed_programs+=("$test")
    fi
    printf '%-28s %4d passed %3d failed %3d skipped %4d s  %s\n' "$test" "$ok" "$bad" "$skips" \
        "$seconds" "$word"
    [ "$bad" -eq 0 ] || sed 's/^/    /' "$log" | tail -n 200
    grep -a '^SKIP ' "$log" | sort -u | sed 's/^/    /'
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skips))
}

# As many at a time as there are cores; told of in the order of the list.
n_jobs=${JOBS:-$(nproc)}
at=0
for test in "${tests[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$n_jobs" ]; do
        wait -n
    done
    run_one "$test" &
    while [ -e "$logs/${tests[at]-}.rc" ]; do
        count "${tests[at]}"
        at=$((at + 1))
    done
done
wait
for test in "${tests[@]:at}"; do
    count "$test"
done

[ $failed -eq 0 ] || echo "failed: ${failed_programs[*]} (logs in $logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
