// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"regexp"
	"strings"
	"testing"
)

// TestMetricsOfTheOperatorAreExplained finds them in the code by the form of their names.
func TestMetricsOfTheOperatorAreExplained(t *testing.T) {
	page := read(t, "docs/reference/metrics.md")
	name := regexp.MustCompile(`(?:Name: +|NewDesc\()"(obstack_\w+)"`)
	found := 0
	for _, file := range files(t, "controllers/*.go", "internal/watchdog/*.go", "internal/failures/*.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range name.FindAllStringSubmatch(read(t, file), -1) {
			found++
			if !strings.Contains(page, "\n| `"+match[1]+"` |") {
				t.Errorf("docs/reference/metrics.md has no row for %s of %s", match[1], file)
			}
		}
	}
	if found < 5 {
		t.Errorf("found only %d metrics", found)
	}
}
