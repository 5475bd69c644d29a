#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The demo: a small trained model is quantised to 4 and to 3 bits by three recipes (round to nearest,
# AWQ, ParoQuant), what was lost is measured on text it never saw, versions continue the same sentence,
# and the 4-bit ParoQuant model's GPU kernels are made: checked, emulated, compiled, stored; with a GPU,
# tuned and run.
#
#     scripts/demo.sh BUILD_DIR
#
# Needs the built paro and models/demo, nothing else. The texts are the fortune files of the Debian
# packages fortunes-min and fortunes (or of the folder PARO_FORTUNES); where they are missing the model
# writes its own. Everything made stays in BUILD_DIR/demo.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

build=${1:?usage: scripts/demo.sh BUILD_DIR}
paro=$build/paro
model=models/demo
work=$build/demo
fortunes=${PARO_FORTUNES:-/usr/share/games/fortunes}
prompt='"I do not know," said the old man,'
max_tokens=40960
recipes=(rtn awq paroquant_best)
declare -A names=([rtn]=RTN [awq]=AWQ [paroquant_best]=ParoQuant)

# Split by file: a saying is in one of them only.
test_files=(literature science wisdom)
calibration_files=(riddles fortunes people work computers)

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi

fail() {
    echo "demo: FAILED: $*" >&2
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

heading() {
    printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"
}

# Shows a command as one would type it.
show() {
    local word line='  $'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./=-]*) line+=" '$word'" ;;
            *) line+=" $word" ;;
        esac
    done
    printf '%s\n' "$line"
}

# Runs a command that prints JSON, into FILE; shows both.
into() { # FILE COMMAND...
    local file=$1
    shift
    show "$@" --output=json | tr -d '\n'
    printf ' > %s\n' "$file"
    "$@" --output=json >"$file"
}

# The first number called KEY in a JSON file that paro printed, one value a line.
number() { # FILE KEY
    local value
    value=$(sed -n "/^ *\"$2\": [-+0-9.eE]*,\{0,1\}\$/ { s/.*: \([^,]*\).*/\1/p; q }" "$1")
    [ -n "$value" ] || fail "no number \"$2\" in $1"
    printf '%s' "$value"
}

report_text() { # FILE ORIGIN
    printf '  %-34s %7d bytes  %s\n' "$1" "$(wc -c <"$1")" "$2"
}

# Joins fortune files, an empty line between sayings; false where none of them is there.
collect() { # OUT NAME...
    local out=$1 name found=()
    shift
    for name in "$@"; do
        if [ -r "$fortunes/$name" ]; then
            found+=("$fortunes/$name")
        fi
    done
    [ ${#found[@]} -gt 0 ] || return 1
    # A character, a backspace: print shops' underlining.
    LC_ALL=C awk '/^%$/ { print ""; next } { gsub(/.\010|\r/, ""); print }' "${found[@]}" >"$out" ||
        fail "cannot join ${found[*]}"
    report_text "$out" "fortunes: ${found[*]##*/}"
}

sample() { # OUT FIRST_SEED LAST_SEED
    local seed
    : >"$1"
    for seed in $(seq "$2" "$3"); do
        "$paro" run "$model" --prompt= --quiet --temperature=1 --seed="$seed" --tokens=800 \
            --ignore-eos >>"$1"
    done
    report_text "$1" "written by the model, seeds $2 to $3"
}

row() { # NAME EVAL_JSON PERPLEXITY_KEY QUANTIZE_JSON before|after
    local ppl file linears kl='-' p99='-' same='-'
    ppl=$(number "$2" "$3")
    file=$(number "$4" "n_weight_bytes_$5")
    linears=$(number "$4" "n_bytes_$5")
    if [ "$3" = perplexity ]; then
        kl=$(number "$2" kl_mean)
        p99=$(number "$2" kl_p99)
        same=$(number "$2" same_top)
    fi
    awk -v name="$1" -v ppl="$ppl" -v kl="$kl" -v p99="$p99" -v same="$same" -v file="$file" \
        -v linears="$linears" 'BEGIN {
            if (kl != "-") {
                kl = sprintf("%.4f", kl); p99 = sprintf("%.4f", p99)
                same = sprintf("%.1f %%", 100 * same)
            }
            printf "  %-17s  %10.4f  %8s  %8s  %8s  %8s  %8s\n", name, ppl, kl, p99, same,
                   sprintf("%.2f MB", linears / 1e6), sprintf("%.2f MB", file / 1e6)
        }'
}

[ -x "$paro" ] || fail "$paro is not there: run make build"
[ -r "$model/model.safetensors" ] || fail "$model is not there"
mkdir -p "$work"

heading "1. A model: $model"
"$paro" version | sed 's/^/  /'
"$paro" inspect "$model" >"$work/inspect.txt"
sed -n '/^$/q; s/^/  /p' "$work/inspect.txt"

heading "2. Texts"
if ! { collect "$work/test.txt" "${test_files[@]}" &&
    collect "$work/calibration.txt" "${calibration_files[@]}"; }; then
    echo "  No fortune files in $fortunes (packages fortunes-min and fortunes): the model writes"
    echo "  the texts itself, which makes perplexities lower than on any other text."
    sample "$work/test.txt" 1 16
    sample "$work/calibration.txt" 101 104
fi

heading "3. Quantise: three recipes, groups of 128"
echo "  4 bits, packed as it will run; 3 bits, stored dequantised as 16 bits to see the loss. Round to nearest"
echo "  (rtn) needs no text, AWQ looks at activations, ParoQuant trains rotations, scales and weights: here a"
echo "  short setting, paroquant_best takes longer and gets further."
quick=(--set=samples=64 --set=tokens=256)
for bits in 4 3; do
    format=$([ $bits = 4 ] && echo paroquant || echo pseudo)
    for recipe in "${recipes[@]}"; do
        options=()
        case $recipe in
            awq) options=("${quick[@]}" --text="$work/calibration.txt") ;;
            paroquant_best) options=("${quick[@]}" --set=validation=16 --set=epochs=3
                --text="$work/calibration.txt") ;;
        esac
        into "$work/quantize-$recipe-$bits.json" "$paro" quantize "$model" "--recipe=$recipe" \
            --set=bits=$bits "${options[@]}" --format=$format --out="$work/$recipe$bits" --overwrite --quiet
    done
done

heading "4. Measure: windows of 512 tokens, at most $max_tokens tokens of the test text"
for bits in 4 3; do
    for recipe in "${recipes[@]}"; do
        into "$work/eval-$recipe-$bits.json" "$paro" eval "$work/$recipe$bits" --text="$work/test.txt" \
            --against="$model" --max-tokens="$max_tokens"
    done
done
echo
{
    printf '  %-17s  %10s  %8s  %8s  %8s  %8s  %8s\n' weights perplexity 'KL mean' 'KL p99' \
        'same top' linears 'in files' ----------------- ---------- -------- -------- -------- -------- \
        --------
    row "16 bits" "$work/eval-rtn-4.json" reference_perplexity "$work/quantize-rtn-4.json" before
    for bits in 4 3; do
        for recipe in "${recipes[@]}"; do
            row "${names[$recipe]}, $bits bits" "$work/eval-$recipe-$bits.json" perplexity \
                "$work/quantize-$recipe-$bits.json" after
        done
    done
} | tee "$work/table.txt"
cat <<'END'

  KL: divergence from the 16-bit model in nats a token. Same top: how often both find the same
  token likeliest. Linears: packed, with scales and zero points. In files: all tensors as written
  (embeddings stay 16 bits; rotation tensors are included; 3 bits are stored as 16).
END

heading "5. Let each continue: $prompt"
for version in "16 bits:$model" "ParoQuant, 4 bits:$work/paroquant_best4" \
    "ParoQuant, 3 bits:$work/paroquant_best3" "RTN, 3 bits:$work/rtn3"; do
    dir=${version#*:}
    name=${version%%:*}
    "$paro" run "$dir" --prompt="$prompt" --tokens=60 --temperature=0.7 --seed=1 --quiet \
        >"$work/text.txt"
    [ -s "$work/text.txt" ] || fail "paro run $dir wrote nothing"
    printf '  %s%s%s\n' "$bold" "$name" "$plain"
    tr '\n' ' ' <"$work/text.txt" | fold -s -w 88 | sed 's/^/    /'
    printf '\n\n'
done

heading "6. Kernels of the 4-bit ParoQuant model: rendered, checked, emulated, compiled"
archs=sm_80,sm_90,sm_120
export PARO_CACHE=$work/cache.db
problem=linear_w4:n=512,k=256,m=1,group=128,krot=8,dtype=f16,parts=256+128+128
if "$paro" version --output=json | grep -q '"has_nvrtc": true'; then
    rm -f "$PARO_CACHE"
    echo "  For one token at a time, every kernel's signature is compared with what the host passes, it is"
    echo "  compiled for three GPU architectures, and run on this CPU, thread by thread, against the"
    echo "  reference. No GPU is needed."
    show "$paro" kernel check --model="$work/paroquant_best4" --buckets=1 --arch=$archs --emulate
    "$paro" kernel check --model="$work/paroquant_best4" --buckets=1 --arch=$archs --emulate | sed 's/^/  /'
    echo
    show "$paro" tune --model="$work/paroquant_best4" --buckets=1,32 --compile-only --arch=$archs
    "$paro" tune --model="$work/paroquant_best4" --buckets=1,32 --compile-only --arch=$archs | sed 's/^/  /'
    show "$paro" cache info
    "$paro" cache info | sed 's/^/  /'

    heading "7. One kernel: the merged q, k, v projection with its rotations"
    for stage in source signature resources; do
        show "$paro" kernel show --problem=$problem --arch=sm_90 --stage=$stage
        "$paro" kernel show --problem=$problem --arch=sm_90 --stage=$stage >"$work/$stage.txt" ||
            fail "paro kernel show --stage=$stage"
        head -n 14 "$work/$stage.txt" | cut -c 1-100 | sed 's/^/    /'
        printf '    ... (%d lines, in %s)\n\n' "$(wc -l <"$work/$stage.txt")" "$work/$stage.txt"
    done
    if "$paro" version --output=json | grep -q '"has_gpu": true'; then
        heading "8. On this GPU: tuned, then running"
        show "$paro" tune --model="$work/paroquant_best4" --buckets=1,32
        "$paro" tune --model="$work/paroquant_best4" --buckets=1,32 | sed 's/^/  /'
        show "$paro" run "$work/paroquant_best4" --device=cuda:0 --prompt="$prompt" --tokens=60
        "$paro" run "$work/paroquant_best4" --device=cuda:0 --prompt="$prompt" --tokens=60 | fold -s -w 88 |
            sed 's/^/    /'
    else
        echo "  There is no GPU here: with one, 'paro tune --model=MODEL' finds the fastest configs, and"
        echo "  'paro run' uses them."
    fi
else
    echo "SKIP demo: kernels need NVRTC ($("$paro" version | grep NVRTC))"
fi

heading "The same with a model of your own (a folder from Hugging Face: Llama, Qwen3)"
cat <<END
  $paro quantize MODEL --recipe=paroquant_best --text=FILE --out=OUT
  $paro eval OUT --text=FILE --against=MODEL
  $paro run OUT --prompt='Once upon a time'
  $paro tune --model=OUT

Done in $SECONDS s. Everything made is in $work; the table is $work/table.txt.
END
