// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stackNamed is one in YAML that is valid.
func stackNamed(name string) string {
	return `apiVersion: obstack.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: ` + name + `}
spec: {metrics: {monitors: [{name: api, selector: {matchLabels: {app: api}}}]}}
`
}

// indented is a document as an item of a list.
func indented(document string) string {
	return "- " + strings.ReplaceAll(strings.TrimSpace(document), "\n", "\n  ") + "\n"
}

func TestReadStacks(t *testing.T) {
	list := "apiVersion: v1\nkind: List\nitems:\n"
	padding := strings.Repeat("# "+strings.Repeat("p", 97)+"\n", maxFile/100+1)
	for name, tc := range map[string]struct {
		text string
		want []string
		says string
	}{
		"documents": {text: stackNamed("a") + "---\nkind: Secret\n---\n" + stackNamed("b"), want: []string{"a", "b"}},
		"a list": {
			text: stackNamed("a") + "---\n" + list + indented(stackNamed("b")) + indented("kind: Secret") +
				indented(stackNamed("c")),
			want: []string{"a", "b", "c"},
		},
		"a list in a list": {text: list + indented(list+indented(stackNamed("a"))), want: []string{"a"}},
		"a list of stacks": {
			text: "apiVersion: obstack.dev/v1alpha1\nkind: ObservabilityStackList\nitems:\n" + indented(stackNamed("a")),
			want: []string{"a"},
		},
		"an empty list":    {text: list, says: "holds no ObservabilityStack"},
		"items of nothing": {text: list + "- a\n", says: "item 1 of the List is no object"},
		"a list with one that is refused": {
			text: list + indented(stackNamed("a")) + indented(strings.Replace(stackNamed("b"), "metrics:", "bogus:", 1)),
			says: "ObservabilityStack b: ",
		},
		"a foreign group": {
			text: stackNamed("a") + "---\n" + strings.Replace(stackNamed("b"), "obstack.dev/v1alpha1", "other.io/v7", 1),
			says: `ObservabilityStack b has apiVersion "other.io/v7": write apiVersion: obstack.dev/v1alpha1`,
		},
		"another version": {
			text: strings.Replace(stackNamed("a"), "v1alpha1", "v1", 1), says: `has apiVersion "obstack.dev/v1"`,
		},
		"no version": {
			text: strings.Replace(stackNamed("a"), "apiVersion", "version", 1), says: `has apiVersion ""`,
		},
		"too much": {text: stackNamed("a") + padding + "---\n" + stackNamed("b"), says: "has more than 16 MiB"},
		"just so":  {text: stackNamed("a") + padding[:maxFile-len(stackNamed("a"))], want: []string{"a"}},
	} {
		file := filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, "-"} {
			stacks, err := readStacks(strings.NewReader(tc.text), path, "shop")
			var got []string
			for _, stack := range stacks {
				got = append(got, stack.Name)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: it has %v, want %v (%v)", name, got, tc.want, err)
			}
			if (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: it says %v, want %q", name, err, tc.says)
			}
		}
	}
}
