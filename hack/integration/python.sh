#!/usr/bin/env bash
# Installs what the bundle for Python is tested with, beside what install.sh does: its tools, the
# frameworks, and old versions of Sentry's SDK. Prints the Python of the environment. A second run
# does nothing and takes no time.
# Usage: "$(hack/integration/python.sh [INTERPRETER])" -m pytest; without one it is python3.
# OBSTACK_SDKS of the tests is the folder "sdks" beside the environment.
set -euo pipefail
cd "$(dirname "$0")"

readonly interpreter="${1:-python3}" requirements=../../python/requirements-test.txt
readonly old_sdks=(1.5.12 1.45.1 2.0.1) eventlet=0.41.3

say() { echo "integration: $*" >&2; }

dir="$(./install.sh)/python"
version="$("$interpreter" -c 'import platform; print(platform.python_version())')"
readonly dir version
readonly environment="$dir/$version"
wanted="$(cat "$requirements" python.sh)" # what makes the environment what it is
readonly wanted
mkdir -p "$dir"
exec 9>"$dir/.lock"
if command -v flock >/dev/null; then flock 9; fi

if [ "$(cat "$environment/.complete" 2>/dev/null)" != "$wanted" ]; then
	say "installing the requirements of the bundle's tests into $environment"
	rm -rf "$environment"
	"$interpreter" -m venv "$environment"
	# Older Pythons get the newest versions that are for them.
	if "$interpreter" -c 'import sys; sys.exit(sys.version_info >= (3, 11))'; then
		sed 's/==.*//' "$requirements" | "$environment/bin/pip" install -q --disable-pip-version-check -r /dev/stdin >&2
	else
		"$environment/bin/pip" install -q --disable-pip-version-check -r "$requirements" >&2
	fi
	for sdk in "${old_sdks[@]}"; do
		"$environment/bin/pip" install -q --disable-pip-version-check --no-deps \
			--target "$environment/sdks/$sdk" "sentry-sdk==$sdk" >&2
	done
	# In a folder of its own, because Sentry's SDK imports it wherever it is installed.
	"$environment/bin/pip" install -q --disable-pip-version-check --target "$environment/eventlet" \
		"eventlet<=$eventlet" >&2 # the newest that is for this Python
	echo "$wanted" >"$environment/.complete"
fi
echo "$environment/bin/python"
