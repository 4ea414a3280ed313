#!/usr/bin/env bash
# Installs Bugsink, which takes what Sentry takes, beside what install.sh does. Prints the folder,
# for OBSTACK_INTEGRATION. A second run does nothing and takes no time.
# Usage: export OBSTACK_INTEGRATION="$(hack/integration/sentry.sh)"
set -euo pipefail

readonly dir="${OBSTACK_INTEGRATION:-${XDG_CACHE_HOME:-$HOME/.cache}/obstack/integration}"
readonly bugsink="bugsink==2.6.2"

mkdir -p "$dir"
exec 9>"$dir/.lock-sentry"
if command -v flock >/dev/null; then flock 9; fi

if [ "$(cat "$dir/bugsink/.complete" 2>/dev/null)" != "$bugsink" ]; then
	echo "integration: installing $bugsink into $dir/bugsink" >&2
	rm -rf "$dir/bugsink"
	python3 -m venv "$dir/bugsink"
	"$dir/bugsink/bin/pip" install -q --disable-pip-version-check "$bugsink" >&2
	echo "$bugsink" >"$dir/bugsink/.complete"
fi
echo "$dir"
