// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// What GitHub leaves out of a heading when it makes its anchor.
	punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestLinksOfTheDocs(t *testing.T) {
	for _, file := range files(t, "*.md") {
		for _, match := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, file), ""), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if target == "" {
				target = path.Base(file)
			}
			target = path.Join(path.Dir(file), target)
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, target)
			} else if anchor != "" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s links to %s, which has no heading %q", file, target, anchor)
			}
		}
	}
}

// anchors of a page's headings, as GitHub makes them.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	var found []string
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(read(t, file), ""), -1) {
		text := punctuation.ReplaceAllString(strings.ToLower(match[1]), "")
		found = append(found, strings.ReplaceAll(text, " ", "-"))
	}
	return found
}
