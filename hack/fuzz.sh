#!/usr/bin/env bash
# Runs every fuzz target of the main module for $FUZZTIME, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=$(git ls-files --cached --others --exclude-standard -- '*_test.go' ':!standalone' |
	xargs grep -H '^func Fuzz' | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9_]*)\(.*| \1|')
if [[ -z $targets ]]; then
	echo "fuzz.sh: no fuzz targets found" >&2
	exit 1
fi
while read -r package target; do
	echo "--> $package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "./$package" </dev/null
done <<<"$targets"
