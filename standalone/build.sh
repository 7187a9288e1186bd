#!/bin/sh
# Builds the program standalone.
#
#   build.sh OUTPUT [GO BUILD FLAG...]                    builds it to the file OUTPUT
#   build.sh --control-plane OUTPUT [GO BUILD FLAG...]    builds one without the operator, for its tests
#   build.sh --ldflags                                    prints the linker flags only
#
# The linker flags give Kubernetes' libraries the version that they were
# released with. Without it "kubectl version" cannot read the server's answer.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

ldflags() {
	cd "$here"
	version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
	date=$(go list -m -f '{{.Time.Format "2006-01-02T15:04:05Z07:00"}}' k8s.io/kubernetes)
	minor=${version#v1.}
	minor=${minor%%.*}
	variables=k8s.io/component-base/version
	printf '%s' "-s -w" \
		" -X $variables.gitVersion=$version+standalone" \
		" -X $variables.gitMajor=1" \
		" -X $variables.gitMinor=$minor" \
		" -X $variables.gitTreeState=clean" \
		" -X $variables.buildDate=$date"
}

if [ "${1:-}" = --ldflags ]; then
	ldflags
	exit
fi
package=.
if [ "${1:-}" = --control-plane ]; then
	package=./cmd/control-plane
	shift
fi
output=${1:?"usage: build.sh [--control-plane] OUTPUT [GO BUILD FLAG...]"}
shift
case $output in
/*) ;;
*) output=$PWD/$output ;;
esac
cd "$here"
CGO_ENABLED=0 exec go build -trimpath -ldflags "$(ldflags)" -o "$output" "$@" "$package"
