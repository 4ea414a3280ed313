#!/usr/bin/env bash
# Generates all that is generated. What the chart and config/ share is written once and copied, and
# test/packaging compares the two.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly chart=charts/obstack plugin=cmd/kubectl-obstack
tool() { go tool -modfile=hack/tools/go.mod "$@"; }
hack/tools/build.sh controller-gen crd-ref-docs helm

tool controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/... paths=./controllers/...
tool controller-gen rbac:roleName=manager-role paths=./controllers output:rbac:dir=config/rbac
tool controller-gen rbac:roleName=injection-role,fileName=injection_role.yaml paths=./controllers/injection \
	output:rbac:dir=config/rbac
tool controller-gen crd paths=./api/... output:crd:dir=config/crd/bases

cp config/crd/bases/*.yaml "$chart/files/crds/"
cp controllers/desired/dashboards/stacks.json "$chart/files/operator-dashboard.json"
cp controllers/desired/dashboards/stacks.json config/grafana/
cp config/rbac/*role.yaml "$chart/files/rbac/"
cp config/webhook/manifests.yaml "$chart/files/webhook/"
cp config/policy/policy.yaml "$chart/files/policy/"
cp config/injection/policies.yaml "$chart/files/injection/"
cp config/prometheus/alerts.yaml "$chart/files/prometheus/"

tool crd-ref-docs --source-path=api/v1alpha1 --renderer=markdown --config=hack/crd-ref-docs/config.yaml \
	--templates-dir=hack/crd-ref-docs --output-path=docs/reference/api.md --log-level=ERROR
go test ./test/packaging -run TestREADME -update
go -C "$plugin" test -run TestPages . -update

go mod tidy
go -C "$plugin" mod tidy
git ls-files -z '*.go' | xargs -0 gofmt -w
