#!/usr/bin/env bash
# Checks what can be mended by a command: formatting, generated files, go.mod files, vet and lint. All checks run; the end says
# which failed and what mends them. Nothing in the tree is changed. `make verify` calls this with the build flags set.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
modules=(. standalone hack/tools)
failures=()
root=$PWD

tool() {
	go tool -modfile="$root/hack/tools/go.mod" "$@"
}
# check NAME REMEDY FUNCTION...: runs a check and keeps what to say when it fails.
check() {
	local name=$1 remedy=$2
	shift 2
	printf '\n==> %s\n' "$name"
	if ! "$@"; then
		failures+=("$name: $remedy")
	fi
}

formatting() {
	local bad
	bad=$(git ls-files --cached --others --exclude-standard -- '*.go' | while read -r f; do [[ ! -e $f ]] || echo "$f"; done | xargs gofmt -l) || return 1
	if [[ -n $bad ]]; then
		printf 'not formatted:\n%s\n' "$bad"
		return 1
	fi
}

deepcopy() {
	tool controller-gen object paths=./api/... output:object:dir="$scratch/object" || return 1
	diff -u api/v1alpha1/zz_generated.deepcopy.go "$scratch/object/zz_generated.deepcopy.go"
}

manifests() {
	tool controller-gen crd paths=./api/... output:crd:dir="$scratch/crd" || return 1
	tool controller-gen rbac:roleName=manager-role paths=./controllers/... output:rbac:dir="$scratch/rbac" || return 1
	diff -ru config/crd/bases "$scratch/crd" && diff -u config/rbac/role.yaml "$scratch/rbac/role.yaml"
}

installer() {
	local folder
	for folder in config/default config/namespaced config/namespaced/tenant config/samples; do
		tool kustomize build "$folder" >"$scratch/manifests.yaml" || return 1
	done
}

tidy() {
	local module status=0
	for module in "${modules[@]}"; do
		(cd "$module" && go mod tidy -diff) || status=1
	done
	return "$status"
}

in_modules() {
	local status=0
	"$@" || status=1
	(cd standalone && "$@") || status=1
	return "$status"
}

check "Formatting" "make fmt" formatting
check "go.mod and go.sum of all modules" "make tidy" tidy
check "Generated DeepCopy methods" "make generate" deepcopy
check "Generated CustomResourceDefinitions and role" "make manifests" manifests
check "Kustomizations" "see the message above" installer
check "go vet" "see the messages above" in_modules go vet ./...
check "golangci-lint" "make lint-fix, or see the messages above" in_modules tool golangci-lint run --allow-parallel-runners ./...

if ((${#failures[@]} > 0)); then
	printf '\n==> %d of the checks failed. What mends them:\n' "${#failures[@]}"
	printf '    %s\n' "${failures[@]}"
	exit 1
fi
printf '\n==> All checks passed.\n'
