#!/usr/bin/env bash
# Runs a build that prints the packages it compiles (go build -v), and shows how far it is instead of their names.
#
#   with-progress.sh PROGRAM COMMAND...
set -euo pipefail

program=$1
shift
compiled=0 fetched=0

progress() {
	local line="  $compiled packages compiled, $fetched modules fetched"
	if [[ -t 1 ]]; then
		printf '\r\033[K%s' "$line"
	elif ((compiled > 0 && compiled % 200 == 0)); then
		printf '%s\n' "$line"
	fi
}

clear_progress() {
	if [[ -t 1 ]]; then
		printf '\r\033[K'
	fi
}

# show counts packages and modules and passes on everything else, such as errors.
show() {
	local line
	while IFS= read -r line; do
		case $line in
		"go: downloading "*)
			fetched=$((fetched + 1))
			;;
		*[[:space:]:#]*)
			clear_progress
			printf '%s\n' "$line"
			continue
			;;
		*)
			compiled=$((compiled + 1))
			;;
		esac
		progress
	done
	clear_progress
}

if [[ -x $program ]]; then
	echo "Bringing $program up to date ..."
else
	echo "Building $program. The first time this takes some minutes, because Kubernetes' API server is compiled into it."
fi
"$@" 2>&1 | show
echo "Built $program in $SECONDS s."
