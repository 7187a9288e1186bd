#!/usr/bin/env bash
# Runs every fuzz target of the main module for $FUZZTIME, as many at a time as there are cores, with one worker each.
set -euo pipefail
cd "$(dirname "$0")/.."

# With a package and a target it runs that one, and shows what it said when it has ended.
if (($# == 2)); then
	status=0
	said=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-30s}" -parallel 1 "./$1" 2>&1 </dev/null) || status=$?
	printf -- '--> %s %s\n%s\n' "$1" "$2" "$said"
	exit "$status"
fi

targets=$(git ls-files --cached --others --exclude-standard -- '*_test.go' ':!standalone' |
	xargs grep -H '^func Fuzz' | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9_]*)\(.*| \1|')
if [[ -z $targets ]]; then
	echo "fuzz.sh: no fuzz targets found" >&2
	exit 1
fi
xargs -L 1 -P "$(getconf _NPROCESSORS_ONLN)" hack/fuzz.sh <<<"$targets"
