#!/usr/bin/env bash
# Runs every test that needs no more than this machine, with the coverage gate.
set -euo pipefail
cd "$(dirname "$0")/.."

hack/tools/build.sh controller-gen helm krew kustomize promtool validate-krew-manifest
KUBEBUILDER_ASSETS="$(go run ./hack/assets)"
# The operator that tests start is built once. Nobody debugs these programs, and without DWARF they
# link in half the time.
OBSTACK_OPERATOR="$PWD/cover.d/obstack" OBSTACK_COVERAGE="$PWD/cover.d/operator"
export CGO_ENABLED=0 KUBEBUILDER_ASSETS OBSTACK_OPERATOR OBSTACK_COVERAGE
rm -rf "$OBSTACK_COVERAGE"
mkdir -p "$OBSTACK_COVERAGE"
go build -cover -ldflags=-w -o "$OBSTACK_OPERATOR" .

# Hand-written code of the operator; what only builds, tests or shows it does not count. What runs
# it as a process of its own counts as well. The exporter is measured by test-integration, because
# much of it does nothing without a broker.
readonly operator=.,./api/...,./controllers/...,./internal/backoff,./internal/failures,./internal/watchdog
# Four packages at a time, because many wait for what takes its time rather than for a processor.
go test -p 4 -ldflags=-w -timeout 45m -count=1 -cover -coverpkg="$operator" ./... \
	-args -test.gocoverdir="$OBSTACK_COVERAGE"
go -C cmd/kubectl-obstack test -ldflags=-w -timeout 30m -count=1 ./...
go tool covdata textfmt -i="$OBSTACK_COVERAGE" -o cover.out
hack/coverage.sh operator cover.out
