#!/usr/bin/env bash
# Runs the end-to-end tests in a cluster of its own, which it removes however the tests end: one of
# kind where docker works, else what the scripts in the folder E2E_NODE provide. Or in a cluster
# that is there, which E2E_KUBECONFIG and E2E_LOAD name. test/e2e/README.md describes them.
# Arguments are for the tests' program: hack/e2e.sh -test.run TestStack
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "e2e: $*" >&2; }

packages=()
work="$(mktemp -d "${TMPDIR:-/tmp}/obstack-e2e-XXXXXX")"
down() { :; }
tests=""
# The tests end first: a cluster that goes away under them would only make them wait.
finish() {
	trap '' INT TERM
	if [ -n "$tests" ]; then kill "$tests" 2>/dev/null && wait "$tests" || true; fi
	down
	rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

use_kind() {
	hack/tools/build.sh kind
	kind="$(go tool -modfile=hack/tools/go.mod -n kind)"
	down() { "$kind" delete cluster --name obstack-e2e >&2; }
	say "creating a cluster of kind"
	E2E_KUBECONFIG="$work/kubeconfig"
	"$kind" create cluster --name obstack-e2e --kubeconfig "$E2E_KUBECONFIG" --wait 5m >&2
	E2E_LOAD="$kind load image-archive --name obstack-e2e"
}

use_node() {
	local bin="${XDG_CACHE_HOME:-$HOME/.cache}/obstack/node"
	scripts="$(cd "$E2E_NODE" && pwd)"
	say "building the programs of a node, unless they are in $bin; the first time takes ten minutes"
	"$scripts/build.sh" "$bin" >&2
	down() { "$scripts/node.sh" down "$work" >&2; }
	say "starting a node"
	"$scripts/node.sh" up "$work" "$bin" >&2
	E2E_KUBECONFIG="$work/kubeconfig"
	E2E_LOAD="$scripts/node.sh image $work $bin"
}

if [ -z "${E2E_KUBECONFIG:-}" ] && ! docker info >/dev/null 2>&1; then
	if [ -z "${E2E_NODE:-}" ]; then
		say "no cluster: docker does not work here. Set E2E_NODE, or E2E_KUBECONFIG and E2E_LOAD: see test/e2e/README.md"
		exit 1
	fi
	packages=(runc iptables conntrack containernetworking-plugins:/usr/lib/cni/bridge)
fi
OBSTACK_INTEGRATION="$(hack/integration/e2e.sh "${packages[@]}")"
hack/tools/build.sh helm
if [ -z "${E2E_KUBECONFIG:-}" ]; then
	if [ "${#packages[@]}" = 0 ]; then use_kind; else use_node; fi
fi
E2E_KUBECONFIG="$(realpath "$E2E_KUBECONFIG")"
# The program itself, because go test would not end it when it is ended.
go test -c -o "$work/e2e.test" ./test/e2e
cd test/e2e
export OBSTACK_INTEGRATION E2E_KUBECONFIG E2E_LOAD
TMPDIR="$work" "$work/e2e.test" -test.v -test.timeout 25m "$@" &
tests=$!
wait "$tests"
tests=""
