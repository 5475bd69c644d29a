#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The rules of CONTRIBUTING.md that a machine can check: licence lines, lengths, doors, floors, words
# left behind, paths of one machine. Prints every breach; fails where there is one.
set -uo pipefail
cd "$(dirname "$0")/.."

n_breaches=0
breach() {
    printf '%s\n' "$1" >&2
    n_breaches=$((n_breaches + 1))
}
breaches() { # WHAT, with grep's lines on standard input; not at the end of a pipe: that would count
    # in a subshell
    local line
    while IFS= read -r line; do
        breach "$1: $line"
    done
}

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files --cached --others --exclude-standard)
else
    mapfile -t files < <(find . -type f -not -path './build/*' | sed 's|^\./||')
fi
code=() ours=()
for file in "${files[@]}"; do
    [ -f "$file" ] || continue
    case $file in
        *.c | *.h | *.cu | *.cuh | *.hpp) code+=("$file") ours+=("$file") ;;
        *.lua | *.sh | *.py | *.cmake | *CMakeLists.txt | Makefile | .ci/run) ours+=("$file") ;;
    esac
done

# 1. Licence: in the first line, or after "#!" in the second.
for file in "${ours[@]}"; do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: MIT' || breach "no licence line: $file"
done

# 2. Length. Longer files need a reason in this list.
max_lines=600
reason_to_be_long() {
    case $1 in
        # tables that a script made
        *_table.h | *_tables.h | *_data.h) return 0 ;;
        *) return 1 ;;
    esac
}
for file in "${ours[@]}"; do
    n=$(wc -l <"$file")
    [ "$n" -le $max_lines ] || reason_to_be_long "$file" ||
        breach "over $max_lines lines: $file ($n)"
done

# 3. Doors: a foreign header enters through one room.
door() { # HEADER PATTERN_OF_FILES
    breaches "$1 outside its room" < <(
        grep -nE "^ *# *include *[<\"]$1[>\"]" "${code[@]}" | grep -vE "^($2):"
    )
}
door '(lua|lualib|lauxlib)\.h' 'lua/[^:]*|tests/(lua_script\.h|test_(sandbox|pattern|lua_docs)\.c)'
door 'jansson\.h' 'base/json\.h|cli/[^:]*|tests/[^:]*|bench/[^:]*'
door 'cblas\.h' 'cpu/blas\.c'
door 'pcre2\.h' 'tokenizer/pretokenize\.c'
door 'utf8proc\.h' 'tokenizer/normalize\.c'
door 'sodium\.h' 'base/hash\.c'
door 'cmocka\.h' 'tests/[^:]*'
door 'sqlite3\.h' 'cache/[^:]*|tests/test_cache[^:]*'
# Loaded at run time, through prototypes of our own: no build needs their headers.
door '(cuda|nvrtc|cupti|cublas|nvml)[A-Za-z_]*\.h|clang-c/[A-Za-z]*\.h' '-'

# 4. Floors: a folder includes only what stands below it. The command line uses the public headers.
floor() { # FOLDER ALLOWED_FOLDERS
    breaches "$1/ includes a higher floor" < <(
        grep -nE '^ *# *include *"' "${code[@]}" | grep -E "^$1/" |
            grep -vE "include *\"($2)/|include *\"[a-z0-9_]+\.h\""
    )
}
floor include 'paro'
floor base 'base'
floor cpu 'base|cpu'
floor tokenizer 'base|tokenizer'
floor families 'base|families'
floor gpu 'base|families|gpu'
floor emulator 'base|families|gpu|emulator'
floor codegen 'base|families|codegen'
floor cache 'base|families|cache'
kernels='families|gpu|emulator|codegen|cache'
floor runtime "base|cpu|$kernels|runtime"
floor tuner "base|cpu|$kernels|runtime|tuner"
floor calib "base|cpu|$kernels|runtime|calib"
floor lua "base|cpu|$kernels|runtime|calib|lua"
floor cli 'cli'
floor examples 'examples'

# 5. Words left behind, and paths of one machine.
breaches "left behind" < <(
    grep -nE '\b(TODO|FIXME|XXX|HACK)\b' "${ours[@]}" | grep -v '^scripts/check_source\.sh:'
)
breaches "path of one machine" < <(
    grep -nE '(^|[^A-Za-z0-9_.$}])/(work|home|root|Users)/' "${ours[@]}" |
        grep -v '^scripts/check_source\.sh:'
)

# 6. The library neither ends the process, prints, nor reads the environment.
library=()
for file in "${code[@]}"; do
    case $file in base/* | cpu/* | tokenizer/* | families/* | gpu/* | emulator/* | codegen/* | cache/* | \
        runtime/* | tuner/* | calib/* | lua/*) library+=("$file") ;; esac
done
breaches "not for a library" < <(
    grep -nE '\b(abort|exit|_exit|printf|puts|putchar|perror|getenv|setenv|assert) *\(' \
        "${library[@]}" | grep -vE ': *(/\*|\*)'
)

if [ $n_breaches -gt 0 ]; then
    echo "$n_breaches breaches of the rules (see CONTRIBUTING.md)" >&2
    exit 1
fi
echo "${#ours[@]} files keep the rules"
