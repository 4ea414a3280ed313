#!/usr/bin/env bash
# Installs what the end-to-end tests run in a cluster, beside what install.sh does: Prometheus and
# prometheus-operator, built from their Go modules, an application's libraries, and Bugsink, which
# takes errors as Sentry does. Prints the folder, for OBSTACK_INTEGRATION. A second run takes
# seconds.
# Usage: export OBSTACK_INTEGRATION="$(hack/integration/e2e.sh)"; arguments are as for install.sh.
set -euo pipefail
cd "$(dirname "$0")"

dir="$(./install.sh "$@")"
readonly dir e2e="$dir/e2e"

say() { echo "integration: $*" >&2; }

mkdir -p "$e2e"
exec 9>"$e2e/.lock"
if command -v flock >/dev/null; then flock 9; fi

# environment NAME REQUIREMENT...: a virtual environment, complete or not there at all.
environment() {
	local name="$1"
	shift
	if [ "$(cat "$e2e/$name/.complete" 2>/dev/null)" = "$*" ]; then return; fi
	say "installing $* into $e2e/$name"
	rm -rf "${e2e:?}/$name"
	python3 -m venv "$e2e/$name"
	"$e2e/$name/bin/pip" install -q --disable-pip-version-check "$@" >&2
	echo "$*" >"$e2e/$name/.complete"
}

# In the images there is no data about time zones, hence tzdata.
environment shop fastapi==0.165.0 uvicorn==0.54.0 prometheus-fastapi-instrumentator==8.1.0 \
	"celery[redis]==5.7.0" "sentry-sdk[fastapi,celery]==2.75.0" tzdata
environment bugsink bugsink==2.6.2 tzdata

# build FOLDER TAGS PROGRAM PACKAGE: without the SDKs of the clouds, which take minutes to build.
build() {
	(cd "$1" && CGO_ENABLED=0 GOFLAGS="-tags=$2" go build -trimpath -ldflags='-s -w' -o "$e2e/$3" "$4" >&2)
}
say "building Prometheus and prometheus-operator, unless the build cache has them; the first time takes minutes"
build prometheus remove_all_sd,enable_kubernetes_sd prometheus github.com/prometheus/prometheus/cmd/prometheus
for program in operator prometheus-config-reloader; do
	build prometheus-operator remove_all_sd "$program" "github.com/prometheus-operator/prometheus-operator/cmd/$program"
done
echo "$dir"
