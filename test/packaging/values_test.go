// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite the table of values in the chart's README")

const (
	tableBegin = "<!-- values: written by go test ./test/packaging -run TestREADME -update -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

// value is one documented value of the chart.
type value struct {
	path        string
	description string
	byDefault   string
}

func TestREADMEListsTheValues(t *testing.T) {
	readme := string(read(t, chart+"/README.md"))
	before, rest, _ := strings.Cut(readme, tableBegin)
	_, after, ok := strings.Cut(rest, tableEnd)
	if !ok {
		t.Fatal("README.md has lost the marks around its table of values")
	}
	table := &strings.Builder{}
	table.WriteString("| Value | Default | Description |\n|---|---|---|\n")
	for _, v := range documentedValues(t) {
		fmt.Fprintf(table, "| `%s` | `%s` | %s |\n", v.path, v.byDefault, v.description)
	}
	want := before + tableBegin + table.String() + tableEnd + after
	if *update {
		if err := os.WriteFile(chart+"/README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, readme); diff != "" {
		t.Errorf("README.md is behind values.yaml; run the test with -update (-want +got):\n%s", diff)
	}
}

// schema is the part of values.schema.json that lists names.
type schema struct {
	AdditionalProperties json.RawMessage
	Properties           map[string]schema
}

func TestSchemaKnowsEveryValueAndNoOther(t *testing.T) {
	var written schema
	readJSON(t, chart+"/values.schema.json", &written)
	// What charts that have this one as a dependency pass along.
	delete(written.Properties, "enabled")
	delete(written.Properties, "global")

	var defaults map[string]any
	if err := yaml.Unmarshal(read(t, chart+"/values.yaml"), &defaults); err != nil {
		t.Fatal(err)
	}
	compareNames(t, "", defaults, written)
}

func compareNames(t *testing.T, path string, defaults map[string]any, written schema) {
	t.Helper()
	if string(written.AdditionalProperties) != "false" {
		t.Errorf("%s: the schema must refuse unknown names", path)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(defaults)), slices.Sorted(maps.Keys(written.Properties))); diff != "" {
		t.Errorf("%s (-values.yaml +values.schema.json):\n%s", path, diff)
	}
	for name, below := range written.Properties {
		if nested, ok := defaults[name].(map[string]any); ok && below.Properties != nil {
			compareNames(t, path+"."+name, nested, below)
		}
	}
}

// documentedValues are the values of values.yaml, in its order.
func documentedValues(t *testing.T) []value {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal(read(t, chart+"/values.yaml"), &document); err != nil {
		t.Fatal(err)
	}
	return valuesBelow(t, "", document.Content[0])
}

func valuesBelow(t *testing.T, prefix string, mapping *yaml.Node) []value {
	t.Helper()
	var found []value
	for i := 0; i < len(mapping.Content); i += 2 {
		key, content := mapping.Content[i], mapping.Content[i+1]
		description, documented := strings.CutPrefix(key.HeadComment, "# -- ")
		switch {
		case documented:
			description = strings.ReplaceAll(description, "\n# ", " ")
			found = append(found, value{prefix + key.Value, description, inline(t, content)})
		case content.Kind == yaml.MappingNode && len(content.Content) > 0:
			found = append(found, valuesBelow(t, prefix+key.Value+".", content)...)
		default:
			t.Errorf("values.yaml does not say what %s%s is for", prefix, key.Value)
		}
	}
	return found
}

// inline writes a default on one line.
func inline(t *testing.T, node *yaml.Node) string {
	t.Helper()
	var content any
	if err := node.Decode(&content); err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}
