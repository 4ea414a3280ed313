// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestNotesShowAStackThatWorks: who follows the notes sees data, and injects something.
func TestNotesShowAStackThatWorks(t *testing.T) {
	out, err := helm(t, "install", "obstack", chart, "--namespace", namespace, "--dry-run=client")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?s)<<'YAML'\n(.*?)\n +YAML\n`).FindSubmatch(out)
	if match == nil {
		t.Fatalf("the notes show no stack:\n%s", out)
	}
	stack := &obsv1.ObservabilityStack{}
	// The whole stack is indented by what its first line is.
	text := regexp.MustCompile(`(?m)^   `).ReplaceAllString(string(match[1]), "")
	if err := yaml.UnmarshalStrict([]byte(text), stack); err != nil {
		t.Fatal(err)
	}
	if stack.Spec.Metrics == nil || stack.Spec.Metrics.Labels["release"] == "" {
		t.Error("kube-prometheus-stack does not select what this stack makes: it has no label release")
	}
	if stack.Spec.Environment == "" && strings.Contains(string(out), "annotate deployment") {
		t.Error("the workload that the notes annotate would get nothing")
	}
}
