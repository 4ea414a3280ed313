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
	"unicode/utf8"
)

// generated pages keep the lines of what they are made from.
var generated = []string{"docs/reference/api.md", "docs/benchmarks/operator.md", "docs/benchmarks/rules.md"}

// TestLinesOfTheDocs: text wraps at 100 columns, as comments do, and code has 120. A table's row, a
// command and a picture cannot be broken.
func TestLinesOfTheDocs(t *testing.T) {
	const most, mostCode = 100, 120
	unbreakable := regexp.MustCompile("^\\s*(?:[-*] |\\d+\\. )?(?:`[^`]*`|!\\[.*|\\S+)\\S*$")
	for _, file := range files(t, "*.md") {
		if slices.Contains(generated, file) {
			continue
		}
		code := false
		for number, line := range lines(t, file) {
			trimmed, limit := strings.TrimSpace(line), most
			if strings.HasPrefix(trimmed, "```") {
				code = !code
			}
			if code || strings.HasPrefix(line, "    ") || unbreakable.MatchString(line) {
				limit = mostCode
			}
			if length := utf8.RuneCountInString(line); length > limit && !strings.HasPrefix(trimmed, "|") {
				t.Errorf("%s:%d has %d columns, at most %d", file, number+1, length, limit)
			}
		}
	}
}

// TestCommentsWrap at 100 columns; code may have 120, because it is not as easily broken.
func TestCommentsWrap(t *testing.T) {
	const most = 100
	// A marker is one line for its generator, what is run or expected one for its reader, and a URL
	// one word.
	comment := regexp.MustCompile(`^\s*(?://|#)`)
	unbreakable := regexp.MustCompile(`^\s*(?:// ?\+|//nolint|# want:|#   |(?://|#) \S+$)`)
	for _, file := range files(t, "*.go", "*.mjs", "*.sh", "*.tmpl", "*.yaml", "*.yml",
		"Dockerfile", "Makefile", ".ci/*") {
		if strings.HasPrefix(path.Base(file), "zz_generated.") {
			continue
		}
		for number, line := range lines(t, file) {
			length := utf8.RuneCountInString(line)
			if length > most && comment.MatchString(line) && !unbreakable.MatchString(line) {
				t.Errorf("%s:%d has %d columns, a comment has at most %d", file, number+1, length, most)
			}
		}
	}
}

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

// TestVersionsThatWereTried are those of go.mod: Dependabot raises one and not the other.
func TestVersionsThatWereTried(t *testing.T) {
	find := func(file, pattern string) string {
		match := regexp.MustCompile(pattern).FindStringSubmatch(read(t, file))
		if match == nil {
			t.Fatalf("%s has nothing like %s", file, pattern)
		}
		return match[1]
	}
	used := find("go.mod", `(?m)^\tgithub\.com/prometheus-operator/\S+/pkg/apis/monitoring v(\S+)$`)
	said := find("docs/install.md", `(?m)^\| prometheus-operator \| definitions and types of (\S+) \|`)
	if used != said {
		t.Errorf("docs/install.md says that prometheus-operator %s was tried, go.mod has %s", said, used)
	}
	tried := find("docs/install.md", `(?m)^\| Kubernetes \| (.+?) \|`)
	for _, file := range files(t, "hack/controlplane/1.*/go.mod") {
		if used := find(file, `(?m)^\tk8s\.io/kubernetes v(\S+)`); !strings.Contains(tried, used) {
			t.Errorf("docs/install.md says that Kubernetes %s was tried, %s has %s", tried, file, used)
		}
	}
}
