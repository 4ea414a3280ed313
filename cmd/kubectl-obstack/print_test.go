// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// hostile is a text that clears a screen, names a window, turns letters round, hides some, and
// pretends to be another line.
const hostile = "evil\x1b[2J\x1b]0;own\x07\u009b2J\x7f\u202eabc\u2066\u200b\U000e0041\u2028FORGED\r\n" +
	"FORGED: all is well"

// wantHarmless searches what a command wrote for what steers a terminal, and for forged lines.
func wantHarmless(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, hidden); i >= 0 {
		t.Errorf("%s holds what is hidden: %q", what, text[max(0, i-60):min(len(text), i+60)])
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "FORGED") {
			t.Errorf("%s has a forged line: %q", what, line)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, Größe │ 世界":  "plain, Größe │ 世界",
		"a\tb\r\nc\u0085d":   "a b  c d",
		"a\u2028b\u2029c\v":  "a b c ",
		"\x1b[2J\x7f\u009b":  " [2J  ",
		"user\u202e\u2066ok": "user\ufffd\ufffdok",
		"a\u200bb\ufeff\xff": "a\ufffdb\ufffd\ufffd",
		"a\u00a0b":           "a b",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestTreeHasNoForgedLines(t *testing.T) {
	var out bytes.Buffer
	n := node{text: "a" + hostile, state: metav1.ConditionTrue, says: hostile, branches: []node{{text: hostile}}}
	n.print(printer{out: &out})
	wantHarmless(t, "a tree", out.String())
	if got := strings.Count(out.String(), "\n"); got != 4 { // One is broken because it is long.
		t.Errorf("it has %d lines, want 4:\n%s", got, out.String())
	}
	out.Reset()
	printer{out: &out}.diff(&StackDiff{Changes: []Change{{Diff: "+" + hostile + "\n"}}})
	wantHarmless(t, "a diff", strings.ReplaceAll(out.String(), "\nFORGED", "")) // the line of the diff itself
}

// TestFormatsEscapeWhatIsHidden and keep what it is.
func TestFormatsEscapeWhatIsHidden(t *testing.T) {
	want := map[string]any{"text": hostile, hostile: []any{hostile, "plain"}, "long": "a\nb\n"}
	for format, read := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(text []byte, into any) error { return yaml.UnmarshalStrict(text, into) },
	} {
		var out bytes.Buffer
		p, err := newPrinter(&out, format)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.show(want, nil); err != nil {
			t.Fatal(err)
		}
		wantHarmless(t, format, out.String())
		var got map[string]any
		if err := read(out.Bytes(), &got); err != nil {
			t.Errorf("%s: %v in %s", format, err, out.String())
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s reads as something else (-want +got):\n%s", format, diff)
		}
	}
}

// createHostile fills a cluster with texts that are hostile, wherever it takes them.
func createHostile(t *testing.T, api client.Client) {
	t.Helper()
	markSecrets(t, api)
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "broken"}}
	testenv.Read(t, api, stack)
	for i := range stack.Status.Conditions {
		stack.Status.Conditions[i].Message = hostile
	}
	for i := range stack.Status.Parts {
		stack.Status.Parts[i].Reason, stack.Status.Parts[i].Message = hostile, hostile
	}
	stack.Status.Workloads = &obsv1.WorkloadsStatus{
		Namespaces: []obsv1.NamespaceWorkloads{{Name: hostile, Reason: hostile}},
	}
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api"}}
	testenv.Change(t, api, deployment, func(d *appsv1.Deployment) {
		d.Annotations[obsv1.AnnotationStack] = hostile
		d.Spec.Template.Annotations[obsv1.AnnotationStack] = hostile
		d.Spec.Template.Spec.Containers[0].Env[0].Value = hostile
		d.Spec.Template.Spec.Containers[0].Image = "fastapi:" + hostile
		d.Spec.Template.Spec.Containers[0].Command = []string{"celery", "-A", hostile, "worker", "-Q", hostile}
	})
	testenv.Change(t, api, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system", Name: "obstack"}},
		func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Name = "manager"
			d.Spec.Template.Spec.Containers[0].Image = "obstack:" + hostile
			d.Spec.Template.Spec.Containers[0].Args = []string{"--injection-policy=" + hostile, "--watch-namespaces=" + hostile}
		})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-0"}}
	testenv.Read(t, api, pod)
	pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, hostile, hostile
	if err := api.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// TestNoCommandIsSteered runs every command on a cluster whose texts are hostile.
func TestNoCommandIsSteered(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	createHostile(t, api)
	dir := t.TempDir()
	lines := commandLines(t, dir)
	lines["status"] = append(lines["status"], []string{hostile})
	lines["explain"] = append(lines["explain"], []string{hostile})
	lines["render"] = append(lines["render"], []string{"-f", filepath.Join(dir, hostile)})
	lines[hostile] = [][]string{{}}
	stack := `{"kind": "ObservabilityStack", "apiVersion": "obstack.dev/v1alpha1", "spec": {"a\u009b\nFORGED": 1},
		"metadata": {"name": "a\nFORGED\u001b[2J"}}`
	if err := os.WriteFile(filepath.Join(dir, "hostile.yaml"), []byte(stack), 0o600); err != nil {
		t.Fatal(err)
	}
	lines["diff"] = append(lines["diff"], []string{"-f", filepath.Join(dir, "hostile.yaml")})
	for name, each := range lines {
		for _, args := range each {
			line := append([]string{name, "-n", "shop"}, args...)
			out, errs, _ := kubectlObstack(t, plane.Kubeconfig, line...)
			wantHarmless(t, strings.Join(line, " ")+" to the output", out)
			wantHarmless(t, strings.Join(line, " ")+" to the error", errs)
		}
	}
}
