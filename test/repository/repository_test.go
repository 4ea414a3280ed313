// SPDX-License-Identifier: Apache-2.0

// Package repository tests what is not code: documentation, workflows, and what they promise.
package repository

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root of the repository, seen from here.
const root = "../.."

// files returns what git keeps and the patterns select, relative to the root.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	// What is new and not added yet is looked at as well.
	list := exec.Command("git", append([]string{
		"-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "--",
	}, patterns...)...)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var found []string
	for file := range strings.FieldsSeq(string(out)) {
		// One that is deleted and not committed yet is listed still.
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			found = append(found, file)
		}
	}
	if len(found) == 0 {
		t.Fatalf("there are no files %v", patterns)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	return strings.Split(read(t, file), "\n")
}
