// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"obstack.dev/obstack/controllers/desired/framework"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestEveryConditionIsExplained reads the constants from the source, so that a new one cannot be
// forgotten.
func TestEveryConditionIsExplained(t *testing.T) {
	doc := readDoc(t, "reference/conditions.md")
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "api", "v1alpha1", "conditions.go"), nil,
		0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, _ := strconv.Unquote(literal.Value)
			found++
			if !strings.Contains(doc, "| `"+value+"` |") {
				t.Errorf("docs/reference/conditions.md has no row for %s", value)
			}
		}
		return true
	})
	if found < 10 {
		t.Errorf("found only %d constants in conditions.go", found)
	}
}

func TestEveryFrameworkIsExplained(t *testing.T) {
	doc := readDoc(t, "reference/frameworks.md")
	for name, f := range framework.Table {
		for _, text := range []string{string(name), f.Requests, f.Errors, f.Duration} {
			if !strings.Contains(doc, "`"+text+"`") {
				t.Errorf("docs/reference/frameworks.md does not name %s of %s", text, name)
			}
		}
		for _, signal := range []string{
			"status", "method", "route_requests", "route_duration", "in_progress", "exceptions", "exception", "cpu", "memory",
		} {
			text, ok := f.Names[signal]
			if ok && !strings.Contains(doc, "`"+text+"`") {
				t.Errorf("docs/reference/frameworks.md does not name %s of %s", text, name)
			}
		}
	}
}

// TestBoundariesAreExplained: people look thresholds up before they write them.
func TestBoundariesAreExplained(t *testing.T) {
	doc := readDoc(t, "guides/slos.md")
	for name, f := range framework.Table {
		row := regexp.MustCompile("(?m)^\\|[^|]*`" + string(name) + "`[^|]*\\| (.*) \\|$").FindStringSubmatch(doc)
		if want := strings.ReplaceAll(boundaries(f.Buckets), ", ", " "); row == nil || row[1] != want {
			t.Errorf("docs/guides/slos.md lists for %s %q, want %q", name, row, want)
		}
	}
	if want := strings.ReplaceAll(boundaries(defaultWaitBuckets), ", ", " "); !strings.Contains(doc,
		"| queue wait | "+want+", or") {
		t.Errorf("docs/guides/slos.md does not list %q for the queue wait", want)
	}
}

func TestEveryAlertHasARunbook(t *testing.T) {
	for _, tc := range readCases(t) {
		for _, group := range rulesOf(tc) {
			for _, rule := range group.Rules {
				if rule.Alert != "" {
					checkRunbook(t, rule)
					checkFilled(t, rule)
				}
			}
		}
	}
}

func checkRunbook(t *testing.T, rule monitoringv1.Rule) {
	t.Helper()
	for _, annotation := range []string{"summary", "description"} {
		if rule.Annotations[annotation] == "" {
			t.Errorf("%s has no %s", rule.Alert, annotation)
		}
	}
	if own, ok := strings.CutPrefix(rule.Annotations["runbook_url"], "https://runbooks."); ok {
		if _, page, _ := strings.Cut(own, "/"); page != rule.Alert && page != "obstack/"+rule.Alert {
			t.Errorf("%s: runbook_url = %q", rule.Alert, rule.Annotations["runbook_url"])
		}
		return
	}
	name, ok := strings.CutPrefix(rule.Annotations["runbook_url"], "https://github.com/obstack/obstack/blob/main/docs/")
	if !ok {
		t.Fatalf("%s: runbook_url = %q", rule.Alert, rule.Annotations["runbook_url"])
	}
	if doc := readDoc(t, name); !strings.HasPrefix(doc, "# "+rule.Alert+"\n") {
		t.Errorf("docs/%s is not about %s", name, rule.Alert)
	}
}

// checkFilled: an alert of the table without a tuning has no severity, and a typing error in a
// placeholder leaves it as it is.
func checkFilled(t *testing.T, rule monitoringv1.Rule) {
	t.Helper()
	if rule.Labels["severity"] == "" {
		t.Errorf("%s has no severity", rule.Alert)
	}
	for name, text := range rule.Annotations {
		if left := placeholderFormat.FindString(text); left != "" {
			t.Errorf("%s: the %s still has the placeholder %s", rule.Alert, name, left)
		}
	}
}

var placeholderFormat = regexp.MustCompile(`<[a-z ]+>`)

var promqlBlock = regexp.MustCompile("(?s)```promql\n(.*?)```")

// TestPromQLOfTheDocs parses what people paste from the runbooks.
func TestPromQLOfTheDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := promqlBlock.FindAllStringSubmatch(string(content), -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no PromQL", file)
		}
		for _, block := range blocks {
			runPromtool(t, t.TempDir(), "promql", "--experimental", "format", block[1])
		}
	}
}
