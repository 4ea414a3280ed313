// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/testenv"
)

// TestDiff compares files with what a running operator made of others.
func TestDiff(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	testenv.NeedPolicies(t, plane.Config)
	binary, err := testenv.BuildOperator(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testenv.StartOperator(plane, binary, "operator"); err != nil {
		t.Fatal(err)
	}
	ensureNamespace(t, api, "shop")
	for name, value := range map[string]map[string]string{
		"sentry": {"dsn": "https://marked-secret@sentry.invalid/1"},
		"redis":  {"url": "redis://:marked-secret@redis.invalid/0"},
	} {
		testenv.Create(t, api, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, StringData: value,
		})
	}
	limited := reader(t, plane, api)

	diffOfNew(t, plane.Kubeconfig)
	installPolicies(t, api)
	stack := apply(t, api, "stack.yaml")
	apply(t, api, "secret.yaml")
	waitStamps(t, api, stack.Status.ConfigHash)
	testenv.Create(t, api, stampedDeployment("shop", "api", ""))
	bound := stampedDeployment("shop", "bound", "")
	bound.Annotations[obsv1.AnnotationStack] = "secret"
	testenv.Create(t, api, bound)

	for _, test := range []struct {
		golden, kubeconfig, file string
		code                     int
	}{
		{"same.txt", plane.Kubeconfig, "stack.yaml", exitWell},
		{"same-secret.txt", plane.Kubeconfig, "secret.yaml", exitWell},
		{"interval.txt", plane.Kubeconfig, "interval.yaml", exitWrong},
		{"changed.txt", plane.Kubeconfig, "changed.yaml", exitWrong},
		{"limited-same.txt", limited, "stack.yaml", exitWell},
		{"limited-secret.txt", limited, "secret.yaml", exitWell},
		{"limited-changed.txt", limited, "changed.yaml", exitWrong},
	} {
		out, errs, code := kubectlObstack(t, test.kubeconfig, "diff", "-f", filepath.Join("testdata", "diff", test.file))
		golden(t, filepath.Join("diff", test.golden), out)
		if code != test.code || errs != "" {
			t.Errorf("diff of %s ends with %d and says %q, want %d and nothing", test.file, code, errs, test.code)
		}
	}
	diffOfSettings(t, plane.Kubeconfig, limited)
	wantResults(t, plane.Kubeconfig, []result{
		{[]string{"diff"}, "-f is missing", exitUsage},
		{[]string{"diff", "-f", "/nowhere.yaml"}, "no such file", exitUnknown},
		{[]string{"diff", "-f", "testdata/diff/stack.yaml", "-o", "name"}, "must be one of json, yaml", exitUsage},
	})
}

// diffOfNew is of a stack that is not there.
func diffOfNew(t *testing.T, kubeconfig string) {
	t.Helper()
	out, _, code := kubectlObstack(t, kubeconfig, "diff", "-f", "testdata/diff/stack.yaml", "-o", "json")
	report := DiffReport{}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitWrong || !report.Stacks[0].New ||
		len(report.Stacks[0].Changes) != 3 || slices.ContainsFunc(report.Stacks[0].Changes, func(c Change) bool {
		return c.Verb != verbCreate || !strings.Contains(c.Diff, "+kind: "+c.Kind)
	}) {
		t.Errorf("diff of a new stack ends with %d (%v), and prints\n%s", code, err, out)
	}
}

// diffOfSettings that are made from a Secret: nobody sees it, and who may not read it does not see
// which workloads roll out.
func diffOfSettings(t *testing.T, all, limited string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "diff", "secret.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "changed.yaml")
	changed := strings.Replace(string(text), "environment: production", "environment: staging", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := kubectlObstack(t, all, "diff", "-f", file)
	if code != exitWrong || !strings.Contains(out, "+  SENTRY_DSN: '***'") ||
		!strings.Contains(out, "rolls out: Deployment shop/bound") {
		t.Errorf("diff ends with %d and says %q, and prints\n%s", code, errs, out)
	}
	for _, secret := range []string{"marked-secret", desired.DigestOf("https://marked-secret@sentry.invalid/1")} {
		if strings.Contains(out, secret) {
			t.Errorf("diff shows %s", secret)
		}
	}
	out, _, code = kubectlObstack(t, limited, "diff", "-f", file)
	golden(t, "diff/limited-settings.txt", out)
	if code != exitWell {
		t.Errorf("diff ends with %d where it is not known what changes, want %d", code, exitWell)
	}
}

// apply a stack, and wait until the operator has looked at it.
func apply(t *testing.T, api client.Client, file string) *obsv1.ObservabilityStack {
	t.Helper()
	stacks, err := readStacks(nil, filepath.Join("testdata", "diff", file), "shop")
	if err != nil {
		t.Fatal(err)
	}
	testenv.Create(t, api, stacks[0])
	testenv.Poll(t, func(ctx context.Context) string {
		if err := api.Get(ctx, client.ObjectKeyFromObject(stacks[0]), stacks[0]); err != nil {
			return err.Error()
		}
		if stacks[0].Status.ConfigHash == "" {
			return "the operator has made no settings"
		}
		return ""
	})
	waitForPass(t, api, stacks[0])
	return stacks[0]
}
