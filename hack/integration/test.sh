#!/usr/bin/env bash
# Tests the task exporter on real Redis, RabbitMQ and Celery, with the coverage gate, proofs on
# Bugsink, and completion in bash and zsh.
set -euo pipefail
cd "$(dirname "$0")/../.."

OBSTACK_INTEGRATION="$(hack/integration/install.sh zsh bash-completion:dh_bash-completion)"
OBSTACK_COVERAGE="$PWD/cover.d/exporter"
export CGO_ENABLED=0 OBSTACK_INTEGRATION OBSTACK_COVERAGE
rm -rf "$OBSTACK_COVERAGE"
mkdir -p "$OBSTACK_COVERAGE"

go test -count=1 -cover -coverpkg=./internal/taskexporter/...,./cmd/task-exporter \
	./internal/taskexporter/... ./cmd/task-exporter -args -test.gocoverdir="$OBSTACK_COVERAGE"
go test -timeout 50m -count=1 ./test/exporter
go -C cmd/kubectl-obstack test -count=1 -run InShells .
hack/integration/sentry.sh >/dev/null
go test -count=1 -run Bugsink ./controllers/proof
go tool covdata textfmt -i="$OBSTACK_COVERAGE" -o cover.exporter.out
hack/coverage.sh exporter cover.exporter.out
