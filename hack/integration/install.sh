#!/usr/bin/env bash
# Installs what the task exporter is tested against: Redis, RabbitMQ and two versions of Celery.
# Prints the folder, for OBSTACK_INTEGRATION. A second run does nothing and takes no time.
# Usage: export OBSTACK_INTEGRATION="$(hack/integration/install.sh)"; arguments are more Debian
# packages to install if their program is missing, which has the same name or follows a colon, as
# does a file of theirs.
set -euo pipefail

readonly dir="${OBSTACK_INTEGRATION:-${XDG_CACHE_HOME:-$HOME/.cache}/obstack/integration}"
readonly oldest="5.2.7"

say() { echo "integration: $*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# The packages' own services must not start: tests start their own servers on free ports.
apt_install() {
	say "installing $*"
	local policy=/usr/sbin/policy-rc.d ours=""
	if [ ! -e "$policy" ]; then
		ours=1
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod +x "$policy"
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT # Left behind, it would keep all services from starting.
	fi
	as_root apt-get update -qq -o DPkg::Lock::Timeout=300 >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o DPkg::Lock::Timeout=300 "$@" >&2
	if [ -n "$ours" ]; then
		as_root rm -f "$policy"
		trap - EXIT
	fi
}

servers() {
	local missing=()
	command -v redis-server >/dev/null || missing+=(redis-server)
	[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
	for package in "$@"; do
		command -v "${package#*:}" >/dev/null || [ -e "${package#*:}" ] || missing+=("${package%%:*}")
	done
	if [ "${#missing[@]}" -gt 0 ]; then apt_install "${missing[@]}"; fi
}

# celery NAME REQUIREMENT...: a virtual environment, complete or not there at all. What is asked for
# in addition later is added, because tests may be using what is there.
celery() {
	local name="$1"
	shift
	local done="$dir/$name/.complete"
	if [ "$(cat "$done" 2>/dev/null)" = "$*" ]; then return; fi
	say "installing $* into $dir/$name"
	if [ ! -e "$done" ]; then
		rm -rf "${dir:?}/$name"
		python3 -m venv "$dir/$name"
	fi
	"$dir/$name/bin/pip" install -q --disable-pip-version-check "$@" >&2
	echo "$*" >"$done"
}

mkdir -p "$dir"
exec 9>"$dir/.lock"
if command -v flock >/dev/null; then flock 9; fi
servers "$@"
# Celery 5.2 still imports pkg_resources, which newer setuptools no longer have.
celery celery-oldest "celery==$oldest" "kombu==5.2.4" "redis==4.3.6" "setuptools<80"
celery celery-newest "celery[redis,gevent,msgpack,yaml]"
echo "$dir"
