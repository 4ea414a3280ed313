#!/usr/bin/env bash
# Builds the tools that are pinned here into Go's build cache, where go tool finds them, and says
# so. Arguments choose tools by name; without any it builds all. A second run takes seconds.
set -euo pipefail
cd "$(dirname "$0")/../.."
# As the Makefile and the tests run them: with other settings they would be built again.
export CGO_ENABLED=0

if [ $# = 0 ]; then
	mapfile -t names < <(go tool -modfile=hack/tools/go.mod | sed -n 's|/v[0-9]*$||; /\./s|.*/||p')
	set -- "${names[@]}"
fi
echo "tools: building what the build cache lacks of $*; the first time takes minutes, later ones seconds" >&2
for name in "$@"; do
	start=$SECONDS
	case "$name" in
	# Without service discovery: the SDKs of the clouds take minutes to build.
	promtool) GOFLAGS=-tags=remove_all_sd go tool -modfile=hack/tools/go.mod -n "$name" >/dev/null ;;
	*) go tool -modfile=hack/tools/go.mod -n "$name" >/dev/null ;;
	esac
	echo "tools: $name, $((SECONDS - start)) s" >&2
done
