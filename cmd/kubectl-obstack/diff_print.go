// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What would become of an object.
const (
	verbCreate = "create"
	verbUpdate = "update"
	verbDelete = "delete"
)

// diff prints the unified diffs of a stack's objects, in colours on a terminal.
func (p printer) diff(d *StackDiff) {
	for _, change := range d.Changes {
		p.unified(change.Diff)
	}
}

func (p printer) unified(diff string) {
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		state := metav1.ConditionStatus("")
		switch {
		case strings.HasPrefix(line, "+"):
			state = metav1.ConditionTrue
		case strings.HasPrefix(line, "-"):
			state = metav1.ConditionFalse
		}
		fmt.Fprintln(p.out, p.paint(line, state))
	}
}

// tree sums up what would change.
func (d *StackDiff) tree() node {
	root := node{text: fmt.Sprintf("Stack %s/%s: %s", d.Namespace, d.Name, d.summary()), state: metav1.ConditionUnknown}
	if d.same() && len(d.Unknown) == 0 {
		root.state = metav1.ConditionTrue
	}
	for _, change := range d.Changes {
		name := change.Name
		if change.Namespace != d.Namespace {
			name = change.Namespace + "/" + name
		}
		root.branches = append(root.branches, node{text: fmt.Sprintf("%s %s %s", change.Verb, change.Kind, name)})
	}
	rolls := "rolls out: "
	if d.Manual {
		rolls = "rolls out at its next restart: "
	}
	for _, workload := range d.Rollouts {
		root.branches = append(root.branches, node{text: rolls + workload, state: metav1.ConditionUnknown})
	}
	for _, problem := range d.Problems {
		root.branches = append(root.branches, node{text: "would be wrong", state: metav1.ConditionFalse, says: problem})
	}
	for _, what := range d.Unknown {
		root.branches = append(root.branches, node{text: "not known", state: metav1.ConditionUnknown, says: what})
	}
	return root
}

// same reports whether nothing would change, as far as is known.
func (d *StackDiff) same() bool { return len(d.Changes)+len(d.Rollouts) == 0 }

func (d *StackDiff) summary() string {
	switch {
	case d.same() && len(d.Unknown) == 0:
		return "no difference"
	case d.same():
		return "no difference in what you may see"
	}
	counts := map[string]int{}
	for _, change := range d.Changes {
		counts[change.Verb]++
	}
	text := fmt.Sprintf("%d to create, %d to update, %d to delete", counts[verbCreate], counts[verbUpdate],
		counts[verbDelete])
	if n := len(d.Rollouts); n > 0 {
		text += ", " + plural(n, "rollout")
	}
	if d.New {
		text = "new, " + text
	}
	return text
}
