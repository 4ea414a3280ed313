// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// columns that a line has at most.
const columns = 80

// node is a line of a tree, what is said below it, and its branches.
type node struct {
	text  string
	state metav1.ConditionStatus
	// says what to do, in lines that are wrapped.
	says     string
	branches []node
}

// tree shows a stack; wide, with every object.
func (r *StackReport) tree(wide bool) node {
	root := node{text: "Stack " + r.Namespace + "/" + r.Name + ": " + r.summary(), state: metav1.ConditionTrue}
	if !r.well() {
		root.state = metav1.ConditionFalse
	}
	if r.Stale {
		root.says = "the operator has not looked at the newest spec yet: wait, or see kubectl -n " +
			usualNamespace + " get pods"
	} else if r.Verified != nil && r.Verified.Status == metav1.ConditionUnknown {
		root.says = r.Verified.Message
	}
	for _, c := range r.Components {
		root.branches = append(root.branches, c.tree(wide))
	}
	if w := r.Workloads; w != nil {
		root.branches = append(root.branches, workloads(w))
	}
	for _, text := range r.Unread {
		root.branches = append(root.branches, node{text: "not shown", state: metav1.ConditionUnknown, says: text})
	}
	return root
}

// summary is Ready and Verified in words.
func (r *StackReport) summary() string {
	if r.Ready == nil {
		return "not looked at yet"
	}
	say := func(v *Verdict, yes, no, unknown string) string {
		switch v.Status {
		case metav1.ConditionTrue:
			return yes
		case metav1.ConditionFalse:
			return no + " (" + v.Reason + ")"
		default:
			return unknown + " (" + v.Reason + ")"
		}
	}
	text := say(r.Ready, "ready", "not ready", "not ready yet")
	if r.Verified != nil {
		text += ", " + say(r.Verified, "verified", "not verified", "not verified yet")
	}
	return text
}

func (c *ComponentReport) tree(wide bool) node {
	n := node{text: c.Name + ": " + c.Reason, state: c.Status}
	if c.Status != metav1.ConditionTrue {
		n.says = c.Message
	}
	for _, part := range c.Parts {
		branch := node{text: partName(judge.Part{Kind: part.Kind, Name: part.Name}) + ": " + part.Reason, state: part.State}
		if part.Targets != nil && part.TargetsUp != nil {
			branch.text += fmt.Sprintf(", %d of %d targets up", *part.TargetsUp, *part.Targets)
		}
		// What processes say of themselves is worth reading also where all is well.
		if part.Message != c.Message && (part.State == metav1.ConditionFalse || part.Kind == obsv1.PartPython) {
			branch.says = part.Message
		}
		n.branches = append(n.branches, branch)
	}
	if !wide {
		if count := len(c.Objects); count > 0 {
			n.branches = append(n.branches, node{text: plural(count, "object")})
		}
		return n
	}
	for _, object := range c.Objects {
		n.branches = append(n.branches, node{text: object})
	}
	return n
}

func workloads(w *obsv1.WorkloadsStatus) node {
	n := node{
		text:  fmt.Sprintf("workloads: %d of %d have the settings", w.Injected, w.Annotated),
		state: metav1.ConditionTrue,
	}
	if w.Injected < w.Annotated {
		n.state = metav1.ConditionUnknown
	}
	if w.Refused > 0 {
		n.text += fmt.Sprintf(", %d refused", w.Refused)
	}
	for _, namespace := range w.Namespaces {
		branch := node{text: fmt.Sprintf("namespace %s: %d of %d", namespace.Name, namespace.Injected, namespace.Annotated)}
		if namespace.Reason != "" {
			branch.text += " (" + namespace.Reason + ")"
		}
		n.branches = append(n.branches, branch)
	}
	return n
}

// printer writes what a command found out.
type printer struct {
	out    io.Writer
	format string
	colour bool
}

// newPrinter prints for people, in colour on a terminal, or in a format for programs. Formats are
// further ones for people.
func newPrinter(out io.Writer, format string, formats ...string) (printer, error) {
	formats = append(formats, "json", "yaml")
	if format != "" && !slices.Contains(formats, format) {
		return printer{}, usageError{fmt.Errorf("--output=%s: must be one of %s", format, strings.Join(formats, ", "))}
	}
	return printer{out: out, format: format, colour: coloured(out)}, nil
}

// coloured reports whether an output is to have colours: terminals do, unless NO_COLOR is set, and
// with CLICOLOR_FORCE everything else.
func coloured(out io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// show what was found out, which has the trees for people.
func (p printer) show(found any, trees []node) error {
	switch p.format {
	case "json":
		return p.write(asJSON(found))
	case "yaml":
		return p.write(asYAML(found))
	}
	for i, tree := range trees {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		tree.print(p)
	}
	return nil
}

// write a text for programs, unless there was an error.
func (p printer) write(text []byte, err error) error {
	if err == nil {
		_, err = p.out.Write(text)
	}
	return err
}

func (n node) print(p printer) { n.printBelow(p, "", "") }

// printBelow prints a node whose first line begins with one prefix and its others with another.
func (n node) printBelow(p printer, first, rest string) {
	fmt.Fprintln(p.out, first+p.paint(n.text, n.state))
	below := rest + "   "
	if len(n.branches) > 0 {
		below = rest + "│  "
	}
	for says := range strings.SplitSeq(n.says, "\n") {
		for _, line := range wrap(says, columns-len([]rune(below))) {
			fmt.Fprintln(p.out, below+line)
		}
	}
	for i, branch := range n.branches {
		if i < len(n.branches)-1 {
			branch.printBelow(p, rest+"├─ ", rest+"│  ")
		} else {
			branch.printBelow(p, rest+"└─ ", rest+"   ")
		}
	}
}

// colours of a terminal: green, red and yellow.
var colours = map[metav1.ConditionStatus]string{
	metav1.ConditionTrue: "\x1b[32m", metav1.ConditionFalse: "\x1b[31m", metav1.ConditionUnknown: "\x1b[33m",
}

// paint a line in the colour of a state, where there are colours.
func (p printer) paint(text string, state metav1.ConditionStatus) string {
	text = printable(text)
	if !p.colour || colours[state] == "" {
		return text
	}
	return colours[state] + text + "\x1b[0m"
}

// wrap breaks a text into lines of at most so many characters; a longer word has a line of its own.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(printable(text)) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
