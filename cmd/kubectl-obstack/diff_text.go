// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

const (
	// contextLines are those around a change.
	contextLines = 3
	// maxCompared bounds the lines of one text times those of the other, from the first change to
	// the last one: for that many the library takes two seconds at worst, and eight times as long
	// for twice the lines.
	maxCompared = 3000 * 3000
)

// unifiedDiff of what an object is and what it would be, or that they differ if they do in too
// much.
func unifiedDiff(name, before, after string) (string, error) {
	a, b := slices.Collect(strings.Lines(before)), slices.Collect(strings.Lines(after))
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	unified := difflib.UnifiedDiff{FromFile: "live/" + name, ToFile: "wanted/" + name, Context: contextLines}
	head, tail = max(0, head-contextLines), max(0, tail-contextLines)
	unified.A, unified.B = a[head:len(a)-tail], b[head:len(b)-tail]
	if len(unified.A)*len(unified.B) > maxCompared {
		return fmt.Sprintf("--- %s\n+++ %s\n# They differ in too much to be shown: %d and %d bytes.\n", unified.FromFile,
			unified.ToFile, len(before), len(after)), nil
	}
	text, err := difflib.GetUnifiedDiffString(unified)
	return countFrom(text, head), err
}

// hunk is the heading of one; no other line of a unified diff begins like it.
var hunk = regexp.MustCompile(`(?m)^@@ -(\d+)(\S*) \+(\d+)(\S*) @@$`)

// countFrom adds what was left out above to the numbers of the lines.
func countFrom(diff string, lines int) string {
	return hunk.ReplaceAllStringFunc(diff, func(heading string) string {
		part := hunk.FindStringSubmatch(heading)
		from, _ := strconv.Atoi(part[1]) // they are digits
		to, _ := strconv.Atoi(part[3])
		return fmt.Sprintf("@@ -%d%s +%d%s @@", from+lines, part[2], to+lines, part[4])
	})
}
