// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestEveryRoomHasItsRule: the page of the architecture says what each package is for, and depguard
// keeps what it may import.
func TestEveryRoomHasItsRule(t *testing.T) {
	page, linters := read(t, "docs/architecture.md"), read(t, ".golangci.yml")
	rooms := map[string]bool{}
	for _, file := range files(t, "api/*.go", "controllers/*.go", "internal/*.go", "python/*.go") {
		rooms[path.Dir(file)] = true
	}
	for room := range rooms {
		// The task exporter is a program of its own.
		if strings.HasPrefix(room, "internal/taskexporter") {
			room = "internal/taskexporter"
		}
		if !strings.Contains(page, "`"+room+"`") {
			t.Errorf("docs/architecture.md has no row for %s", room)
		}
		above := room
		if room == "api/v1alpha1" || strings.HasPrefix(room, "controllers/desired/") {
			above = path.Dir(room)
		}
		if !regexp.MustCompile(`\$\{config-path\}/` + above + `/\*`).MatchString(linters) {
			t.Errorf(".golangci.yml has no rule of depguard for %s", room)
		}
	}
}
