# obstack: `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED := 0

VERSION ?= dev
TOOL := go tool -modfile=$(CURDIR)/hack/tools/go.mod
# The kubectl plugin is a module of its own, so that the operator does not depend on what it needs.
PLUGIN := cmd/kubectl-obstack
CHART := charts/obstack

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show obstack at work; ONCE=1 ends by itself, ROTATE=1 changes the DSN, LIVE=1 shows graphs, PYTHON=1 those of Python.
	go run ./hack/demo

.PHONY: build
build: ## Build the operator, the task exporter and the kubectl plugin into bin/; VERSION=... names the release.
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ . ./cmd/task-exporter
	go -C $(PLUGIN) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(CURDIR)/bin/ .

.PHONY: dist
dist: ## Build the archives of the kubectl plugin for all platforms into dist/, for VERSION=vX.Y.Z.
	go run ./hack/release -version=$(VERSION)
	@hack/tools/build.sh krew validate-krew-manifest
	OBSTACK_DIST=$(CURDIR)/dist go test -count=1 ./hack/release

.PHONY: image
image: ## Build the container image with docker.
	docker build --build-arg VERSION=$(VERSION) -t ghcr.io/obstack/obstack:$(VERSION) .

##@ Check

.PHONY: tools
tools: ## Build all pinned tools, of which each target builds what it uses; the first time takes minutes.
	@hack/tools/build.sh

.PHONY: test
test: ## Run every test that needs no more than this machine, with the coverage gate.
	@hack/test.sh

.PHONY: test-integration
test-integration: ## Test the task exporter on real Redis, RabbitMQ and Celery, proofs on Bugsink, completion in bash and zsh.
	@hack/integration/test.sh

.PHONY: test-dashboards
test-dashboards: ## Try proofs, dashboards and the live demo on a real Prometheus and in Chromium; UPDATE=1 keeps what the frameworks expose.
	@parts=$$(hack/integration/dashboards.sh) && export OBSTACK_INTEGRATION=$$parts && \
	npm --prefix hack/axe ci --silent --no-audit --no-fund && \
	npm --prefix hack/grafana-schema ci --silent --no-audit --no-fund && \
	go test -timeout 30m -count=1 -run RealPrometheus ./controllers/proof && \
	go test -timeout 30m -count=1 -run 'DemoLive|DemoPython' ./hack/demo && \
	go test -count=1 -run Browser ./internal/browser ./internal/viewer && \
	go -C $(PLUGIN) test -count=1 -run DashboardDrawsPictures . && \
	go test -timeout 30m -count=1 ./test/dashboards $(if $(UPDATE),-args -update)

.PHONY: pictures
pictures: ## Make the pictures of dashboards anew: the documentation's from the live demo, and the golden ones.
	@parts=$$(hack/integration/dashboards.sh) && export OBSTACK_INTEGRATION=$$parts && \
	npm --prefix hack/axe ci --silent --no-audit --no-fund && \
	go test -count=1 -run BrowserPictures ./internal/viewer -args -update && \
	go test -timeout 30m -count=1 -run DemoLive ./hack/demo -args -update

.PHONY: test-python
test-python: ## Lint the bundle for Python, and test it on real servers, Celery and SDKs; PYTHON=python3.13 chooses one.
	@python=$$(hack/integration/python.sh $(PYTHON)) && cd python && \
	$$python -m ruff format --check . && $$python -m ruff check . && \
	$$python -m mypy obstack/bundle/*.py obstack/__main__.py && \
	$$python -m pytest -q tests

.PHONY: bench-python
bench-python: ## Measure what the bundle costs an application.
	@python=$$(hack/integration/python.sh $(PYTHON)) && $$python test/bench/python/bench.py

.PHONY: e2e
e2e: ## Test in a cluster with real Pods: of kind where docker works; E2E_NODE and E2E_KUBECONFIG name others.
	@hack/e2e.sh

# gosec leaves unchecked errors (G104) to errcheck, which knows those that do not matter.
.PHONY: lint
lint: ## Lint the code, the API and the chart, and look for security flaws.
	@hack/tools/build.sh golangci-lint-kube-api-linter gosec helm
	$(TOOL) golangci-lint-kube-api-linter run
	cd $(PLUGIN) && $(TOOL) golangci-lint-kube-api-linter run
	$(TOOL) golangci-lint-kube-api-linter run -c .golangci-kal.yml ./api/...
	$(TOOL) gosec -quiet -exclude=G104 -exclude-generated -exclude-dir=hack -exclude-dir=test ./...
	cd $(PLUGIN) && $(TOOL) gosec -quiet -exclude=G104 ./...
	$(TOOL) helm lint --strict $(CHART)

.PHONY: bench bench-exporter bench-rules
bench: ## Measure the operator against the bare API server; writes docs/benchmarks/operator.md.
	go run ./test/bench

bench-exporter: ## Measure the task exporter on a real Redis and RabbitMQ.
	@parts=$$(hack/integration/install.sh) && export OBSTACK_INTEGRATION=$$parts && go run ./test/bench/exporter

bench-rules: ## Measure alerts and SLOs on a real Prometheus.
	@parts=$$(hack/integration/dashboards.sh) && export OBSTACK_INTEGRATION=$$parts && go run ./test/bench/rules

##@ Generate

.PHONY: generate
generate: ## Generate all that is generated: deepcopy, CRD, RBAC, the chart's copies, the reference.
	@hack/generate.sh

.PHONY: verify
verify: generate ## Fail if something generated is not up to date.
	@git diff --exit-code || { echo 'run make generate and commit the result'; exit 1; }
	@test -z "$$(git ls-files --others --exclude-standard)" || { git status --short; echo 'commit or ignore these files'; exit 1; }
