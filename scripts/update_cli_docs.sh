#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Puts the help texts of a built paro into docs/cli.md, between the lines "<!-- help COMMAND -->" and
# "<!-- end -->".
#
#     scripts/update_cli_docs.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."

paro=${1:?usage: scripts/update_cli_docs.sh BUILD_DIR}/paro
new=$(mktemp docs/cli.md.XXXXXX)
trap 'rm -f "$new"' EXIT

inside=0
while IFS= read -r line; do
    case $line in
    '<!-- help'*'-->')
        words=${line#<!-- }
        words=${words% -->}
        printf '%s\n```text\n' "$line"
        # shellcheck disable=SC2086 # words
        "$paro" $words
        printf '```\n'
        inside=1
        ;;
    '<!-- end -->')
        printf '%s\n' "$line"
        inside=0
        ;;
    *)
        [ "$inside" = 1 ] || printf '%s\n' "$line"
        ;;
    esac
done <docs/cli.md >"$new"
chmod 644 "$new"
mv "$new" docs/cli.md
