#!/usr/bin/env bash
# usage: hack/coverage.sh NAME PROFILE. Fails if too little of the hand-written code is covered.
set -euo pipefail

readonly name="$1" profile="$2" least=85
grep -v zz_generated "$profile" >"$profile.hand"
go tool cover -func="$profile.hand" | awk -v name="$name" -v least="$least" '/^total:/ {sub("%", "", $3)
	print "coverage of the " name ": " $3 " % of the hand-written statements, at least " least " %"; exit $3 + 0 < least + 0}'
