#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installs a build into an empty prefix and builds against it what a user would: through pkg-config,
# through CMake, and as C++.
#
#     scripts/check_install.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: scripts/check_install.sh BUILD_DIR}
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log"
echo "installed:"
(cd "$prefix" && find . -type f | sort | sed 's/^\./    PREFIX/')
if grep -rIl "$root" "$prefix/lib" "$prefix/share" 2>/dev/null; then
    echo "check_install: the files above name the folder they were built in" >&2
    exit 1
fi
pc=$(find "$prefix" -name paro.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH

echo "through pkg-config:"
# shellcheck disable=SC2046 # flags are words
${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror tests/install/consumer.c -o "$work/consumer" \
    $(pkg-config --cflags --libs paro)
"$work/consumer"
if [ -f examples/continue.c ]; then
    # shellcheck disable=SC2046
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror examples/continue.c -o "$work/continue" \
        $(pkg-config --cflags --libs paro)
    if [ -d models/demo ]; then
        "$work/continue" models/demo "The" | cut -c 1-200 # reads all of it, unlike head
    fi
fi

echo "through CMake:"
cmake -S tests/install -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log"
cmake --build "$work/cmake" >"$work/cmake-build.log" || { cat "$work/cmake-build.log"; exit 1; }
"$work/cmake/consumer"

if command -v c++ >/dev/null; then
    echo "headers, as C++ and one by one:"
    for header in "$prefix"/include/paro/*.h; do
        echo "#include <paro/$(basename "$header")>" |
            c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -I "$prefix/include" -x c++ -
    done
fi

if [ -x "$prefix/bin/paro" ]; then
    "$prefix/bin/paro" --version
fi
