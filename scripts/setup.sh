#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows which packages paro needs, which are missing, and installs them (Debian, Ubuntu).
#
#     scripts/setup.sh [--check] [GROUP...]
#
# Groups: build (default), demo, cuda, fuzz, lint. Each need is tested by what it provides (a
# command, a pkg-config module, a file), so packages from elsewhere count. cuda is NVRTC, which is
# taken from NVIDIA's wheel where this machine has none; without it all works but the compiling of
# kernels. With --check, or PARO_NO_INSTALL=1, nothing is installed. Exit code: 0 all there, 1
# something is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# group | Debian/Ubuntu package | how to see that it is there | what it is, for other systems
needs() {
    cat <<'END'
build|build-essential|command cc|a C11 compiler (gcc 10 or clang 12) and libc's headers
build|make|command make|GNU make
build|cmake|command cmake|CMake 3.20
build|pkg-config|command pkg-config|pkg-config or pkgconf
build|libcmocka-dev|module cmocka|cmocka 1.1.5 (tests)
build|libjansson-dev|module jansson|jansson 2.13 (JSON)
build|liblua5.4-dev|module lua5.4|Lua 5.4 (recipes), pkg-config name lua5.4
build|libpcre2-dev|module libpcre2-8|PCRE2, 8 bits (tokenizer)
build|libutf8proc-dev|module libutf8proc|utf8proc (tokenizer)
build|libopenblas-dev|module openblas|OpenBLAS
build|libsodium-dev|module libsodium|libsodium (SHA-256)
build|libsqlite3-dev|module sqlite3|SQLite 3.37 (the kernel cache)
build|libclang1|libclang|libclang 13 or newer (reads kernels; loaded at run time)
cuda|curl|nvrtc_or curl|curl (loads NVRTC)
cuda|unzip|nvrtc_or unzip|unzip (unpacks NVRTC)
cuda|ca-certificates|nvrtc_or update-ca-certificates|the certificates of authorities (loads NVRTC)
demo|fortunes-min|file /usr/share/games/fortunes/literature|the fortune files (the demo's texts)
demo|fortunes|file /usr/share/games/fortunes/science|the larger fortune files (the demo's texts)
fuzz|clang|command clang|clang 12
fuzz|libclang-rt-dev|libfuzzer|compiler-rt: libFuzzer and the sanitizers for clang
lint|clang-format|command clang-format|clang-format 14
lint|clang-tidy|command clang-tidy|clang-tidy 14
END
}

is_there() { # KIND [NAME]
    case $1 in
        command) command -v "$2" >/dev/null ;;
        module) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
        file) [ -e "$2" ] ;;
        nvrtc_or) scripts/fetch_nvrtc.sh --check || command -v "$2" >/dev/null ;;
        libclang)
            PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null |
                grep -E 'libclang(-[0-9]+)?\.so\.[0-9]' >/dev/null ||
                compgen -G '/usr/lib/llvm-*/lib/libclang.so.1' >/dev/null
            ;;
        libfuzzer)
            command -v clang >/dev/null &&
                echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n);
                      int LLVMFuzzerTestOneInput(const char *d, unsigned long n)
                      { return (void)d, (void)n, 0; }' |
                clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null
            ;;
    esac
}

check_only=${PARO_NO_INSTALL:-0}
groups=()
for arg in "$@"; do
    case $arg in
        --check) check_only=1 ;;
        build | demo | cuda | fuzz | lint) groups+=("$arg") ;;
        -h | --help) sed -n 's/^# \{0,1\}//; 4,12p' "$0"; exit 0 ;;
        *) echo "setup: expected --check, build, demo, cuda, fuzz or lint; found '$arg'" >&2; exit 2 ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build)

needed=()
missing=()
missing_words=()
while IFS='|' read -r group package test words; do
    [[ " ${groups[*]} " == *" $group "* ]] || continue
    needed+=("$package")
    # shellcheck disable=SC2086 # the test is two words
    if ! is_there $test </dev/null; then
        missing+=("$package")
        missing_words+=("$words")
    fi
done < <(needs)

if [ ${#needed[@]} -eq 0 ]; then
    echo "setup: cannot read its own list of packages" >&2
    exit 1
fi
echo "setup: packages needed (${groups[*]}): ${needed[*]}"
# NVRTC is no package. Its absence stops nothing but the compiling of kernels.
nvrtc() {
    [[ " ${groups[*]} " == *" cuda "* ]] || return 0
    if [ "$check_only" != 0 ]; then
        scripts/fetch_nvrtc.sh --check || {
            echo "setup: missing: NVRTC (scripts/fetch_nvrtc.sh takes it from its wheel)"
            return 1
        }
    elif ! scripts/fetch_nvrtc.sh --if-missing; then
        echo "setup: going on without NVRTC: kernels are not compiled, their tests are skipped" >&2
    fi
}

if [ ${#missing[@]} -eq 0 ]; then
    nvrtc || exit 1
    echo "setup: all there"
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "setup: this is not Debian or Ubuntu (no apt-get). Missing, to be installed by hand:" >&2
    printf '    %s\n' "${missing_words[@]}" >&2
    exit 1
fi

echo "setup: missing: ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
install=("${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}")
echo "setup: the command for it: ${install[*]}"
if [ "$check_only" != 0 ] || [ "${PARO_SETUP_TRIED:-0}" != 0 ]; then
    exit 1
fi
if [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
    echo "setup: not root, and there is no sudo: run this as root, then try again:" >&2
    echo "    apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
if [ ${#as_root[@]} -gt 0 ] && [ ! -t 0 ]; then
    as_root=(sudo -n) # nobody is there to type a password
fi

run=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
if ! "${run[@]}" update -q </dev/null; then
    echo "setup: apt-get update failed; trying with the lists there are" >&2
fi
if ! "${run[@]}" install -y -q --no-install-recommends "${missing[@]}" </dev/null; then
    echo "setup: the installation failed (see above); by hand:" >&2
    echo "    ${install[*]}" >&2
    exit 1
fi

# Believe what is there, not what apt-get said.
exec env PARO_SETUP_TRIED=1 scripts/setup.sh "${groups[@]}"
