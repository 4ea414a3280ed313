#!/usr/bin/env bash
# Installs what the dashboards are tried on, beside what install.sh does: npm, Chromium with the
# fonts of test/browser, Prometheus, built from its Go module, and the libraries whose metrics the
# presets name. Prints the folder, for OBSTACK_INTEGRATION. A second run takes seconds.
# Usage: export OBSTACK_INTEGRATION="$(hack/integration/dashboards.sh)"
set -euo pipefail
cd "$(dirname "$0")"

readonly fonts=/usr/share/fonts/truetype
dir="$(./install.sh npm chromium "fonts-roboto-unhinted:$fonts/roboto/unhinted" "fonts-dejavu-core:$fonts/dejavu")"
readonly dir

say() { echo "integration: $*" >&2; }

# Pinned: test/scrapes holds what these versions expose.
readonly frameworks=(
	fastapi==0.165.0 starlette==1.10.0 uvicorn==0.54.0
	prometheus-fastapi-instrumentator==8.1.0 starlette_exporter==0.24.0
	django==5.2.19 django-prometheus==2.5.0
	flask==3.1.3 prometheus-flask-exporter==0.23.2
	opentelemetry-sdk==1.45.2 opentelemetry-exporter-prometheus==0.66b2 opentelemetry-instrumentation-fastapi==0.66b2
)

exec 9>"$dir/.lock-dashboards"
if command -v flock >/dev/null; then flock 9; fi

if [ "$(cat "$dir/frameworks/.complete" 2>/dev/null)" != "${frameworks[*]}" ]; then
	say "installing ${frameworks[*]} into $dir/frameworks"
	rm -rf "$dir/frameworks"
	python3 -m venv "$dir/frameworks"
	"$dir/frameworks/bin/pip" install -q --disable-pip-version-check "${frameworks[@]}" >&2
	echo "${frameworks[*]}" >"$dir/frameworks/.complete"
fi

# Without service discovery: the SDKs of the clouds take minutes to build.
say "building Prometheus, unless the build cache has it"
(cd prometheus && CGO_ENABLED=0 GOFLAGS=-tags=remove_all_sd \
	go build -trimpath -ldflags='-s -w' -o "$dir/prometheus" github.com/prometheus/prometheus/cmd/prometheus >&2)
echo "$dir"
