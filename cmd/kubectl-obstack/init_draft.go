// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
)

// draft is a stack that is being written. Every step leaves one that the API server would take.
type draft struct {
	stack     *obsv1.ObservabilityStack
	admission *crd.Admission
	// comments stand above fields, by their path, such as spec.metrics.monitors.0.
	comments map[string]string
	// notes say, below the stack, what is left to do.
	notes []note
}

// note is something to do, with what to type or to write.
type note struct {
	says  string
	lines []string
}

// newDraft begins with a stack that bears the name of its namespace, if it can.
func newDraft(namespace string) (*draft, error) {
	admission, err := crd.NewAdmission(crd.Stacks)
	if err != nil {
		return nil, err
	}
	d := &draft{stack: firstStack(namespace), admission: admission, comments: map[string]string{}}
	d.try(func(stack *obsv1.ObservabilityStack) { stack.Name = namespace })
	return d, nil
}

// try makes a change if the API server would take it, and else says why it would not.
func (d *draft) try(change func(*obsv1.ObservabilityStack)) (problem string) {
	changed := d.stack.DeepCopy()
	change(changed)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(changed)
	if err != nil {
		return err.Error()
	}
	if content["spec"] == nil {
		content["spec"] = map[string]any{}
	}
	problems, err := d.admission.Admit(content, &obsv1.ObservabilityStack{})
	if err != nil {
		return err.Error()
	}
	if len(problems) > 0 {
		return cmp.Or(problems[0].Detail, problems[0].Error())
	}
	d.stack = changed
	return ""
}

// note adds something to do.
func (d *draft) note(says string, lines ...string) {
	d.notes = append(d.notes, note{says, lines})
}

// command is a command line, broken where it is too long.
func command(words ...string) (lines []string) {
	lines = wrap(strings.Join(words, " "), columns-len(`#     \`)-1)
	for i := range lines {
		if i > 0 {
			lines[i] = "  " + lines[i]
		}
		if i < len(lines)-1 {
			lines[i] += ` \`
		}
	}
	return lines
}

// empty reports whether there is nothing to observe.
func (d *draft) empty() bool {
	return d.stack.Spec.Metrics == nil && d.stack.Spec.Tasks == nil && d.stack.Spec.Sentry == nil
}

// write the stack as YAML, in the order of its fields.
func (d *draft) write(out io.Writer) error {
	content, err := json.Marshal(d.stack)
	if err != nil {
		return err
	}
	var document yaml.Node // JSON is YAML, and keeps its order
	if err := yaml.Unmarshal(content, &document); err != nil {
		return err
	}
	root := document.Content[0]
	kind, apiVersion := root.Content[:2:2], root.Content[2:4:4]
	root.Content = slices.Concat(apiVersion, kind, root.Content[4:])
	if d.empty() {
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "spec"},
			&yaml.Node{Kind: yaml.MappingNode})
	}
	d.style(root, "")
	encoded, err := encodeYAML(&document)
	if err != nil {
		return err
	}
	text := bytes.NewBuffer(encoded)
	for _, n := range d.notes {
		text.WriteByte('\n')
		for _, line := range wrap(n.says, columns-len("# ")) {
			fmt.Fprintln(text, "# "+line)
		}
		for _, line := range n.lines {
			fmt.Fprintln(text, strings.TrimRight("#   "+printable(line), " "))
		}
	}
	_, err = out.Write(text.Bytes())
	return err
}

// commentColumns are those of a comment, wherever it stands.
const commentColumns = 68

// style writes a node as a person would, and puts comments above it.
func (d *draft) style(n *yaml.Node, path string) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && !plain(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			below := strings.TrimPrefix(path+"."+child.Value, ".")
			child.HeadComment = comment(d.comments[below])
			d.style(n.Content[i+1], below)
			d.style(child, "")
		case n.Kind == yaml.SequenceNode:
			below := path + "." + strconv.Itoa(i)
			child.HeadComment = comment(d.comments[below])
			d.style(child, below)
		}
	}
}

func comment(text string) string {
	lines := wrap(text, commentColumns)
	for i := range lines {
		lines[i] = "# " + lines[i]
	}
	return strings.Join(lines, "\n")
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z/][-A-Za-z0-9_./]*$`)
	// notText is what YAML 1.1, which kubectl reads, takes for something else.
	notText = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

// plain reports whether a text needs no quotes.
func plain(text string) bool {
	return plainText.MatchString(text) && !slices.Contains(notText, strings.ToLower(text))
}
