// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allComponents is the first word of the cases that show every component.
const allComponents = "stack"

// TestGolden compares what each testdata folder's stack becomes with its
// want.yaml. To add a case, write an in.yaml, run the test with -update, and
// read the result as if it were applied to your own cluster.
func TestGolden(t *testing.T) {
	for _, tc := range readCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join("testdata", tc.name, "want.yaml")
			got := render(t, tc)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// TestEveryComponentHasCases keeps the coverage of new components honest.
func TestEveryComponentHasCases(t *testing.T) {
	have := map[string]bool{}
	known := []string{allComponents}
	for _, tc := range readCases(t) {
		have[tc.name] = true
	}
	for _, component := range Components {
		known = append(known, component.Name)
		for _, suffix := range []string{"absent", "minimal", "full"} {
			if name := component.Name + "-" + suffix; !have[name] {
				t.Errorf("testdata/%s is missing", name)
			}
		}
	}
	for name := range have {
		if component, _, _ := strings.Cut(name, "-"); !slices.Contains(known, component) {
			t.Errorf("testdata/%s does not begin with a component: want one of %v", name, known)
		}
	}
}

// render shows the conditions and objects of a case, one YAML document each.
func render(t *testing.T, tc goldenCase) string {
	t.Helper()
	conditions := map[string]any{}
	var documents, covered []string
	for _, component := range Components {
		if tc.component != component.Name && tc.component != allComponents {
			continue
		}
		out := build(component, tc.stack, tc.in)
		conditions[component.Condition] = conditionOf(out)
		if out.Covered != "" {
			covered = append(covered, out.Covered)
		}
		for _, obj := range out.Objects {
			documents = append(documents, toYAML(t, outlined(t, plain(t, obj))))
		}
	}
	head := map[string]any{"conditions": conditions}
	if tc.component == allComponents {
		head["covered"] = strings.Join(covered, ", ")
	}
	return strings.Join(append([]string{toYAML(t, head)}, documents...), "---\n")
}

// outlined shows of a dashboard what differs between stacks: who it is for, and
// its panels and queries. What the files have in common is the schema's test to check.
func outlined(t *testing.T, content map[string]any) map[string]any {
	t.Helper()
	data, _ := content["data"].(map[string]any)
	for key, value := range data {
		if !strings.HasSuffix(key, ".json") {
			continue
		}
		dashboard := parseDashboard(t, key, []byte(value.(string)))
		var out strings.Builder
		fmt.Fprintf(&out, "%s, uid %s, tags %v\n", dashboard.Title, dashboard.UID, dashboard.Tags)
		for _, variable := range dashboard.Templating.List {
			fmt.Fprintf(&out, "$%s = %v of %s\n", variable.Name, variable.Current["value"], variable.Query)
		}
		for _, link := range dashboard.Links {
			fmt.Fprintf(&out, "link %s: %s%v\n", link.Title, link.URL, link.Tags)
		}
		for _, panel := range dashboard.Panels {
			at := panel.GridPos
			fmt.Fprintf(&out, "%s %q at %d,%d size %dx%d\n", panel.Type, panel.Title, at.X, at.Y, at.W, at.H)
			for _, target := range panel.Targets {
				fmt.Fprintf(&out, "  %s %s [%s]: %s\n", target.RefID, target.LegendFormat, target.Interval, target.Expr)
			}
		}
		data[key] = out.String()
	}
	return content
}

// conditionOf is what the golden files show of an Output; null for a part that was not requested.
func conditionOf(out Output) any {
	if !out.Requested() {
		return nil
	}
	condition := map[string]any{"status": out.Status, "reason": out.Reason, "message": out.Message}
	if out.Hold {
		condition["hold"] = true
	}
	return condition
}
