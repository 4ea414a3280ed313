// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file beside the test.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) // #nosec G304 -- a file of the test
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), and -update writes it anew:\n%s", path, diff)
	}
	for line := range strings.SplitSeq(got, "\n") {
		if utf8.RuneCountInString(line) > columns {
			t.Errorf("%s: %q has more than %d columns", name, line, columns)
		}
	}
}

// kubectlObstack runs a command line, and returns what it wrote and ended with.
func kubectlObstack(t *testing.T, kubeconfig string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	t.Setenv("KUBECONFIG", kubeconfig)
	code = run(t.Context(), args, genericiooptions.IOStreams{
		In: strings.NewReader(""), Out: &out, ErrOut: &errs,
	})
	if i := slices.Index(args, "json"); i > 0 && args[i-1] == "-o" && code != exitUsage && out.Len() > 0 {
		wantReport(t, args, out.String())
	}
	return out.String(), errs.String(), code
}

// stackFile is a stack with a status, in testdata.
func stackFile(t testing.TB, name string) *obsv1.ObservabilityStack {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "status", name+".yaml")) // #nosec G304 -- a file of the test
	if err != nil {
		t.Fatal(err)
	}
	stack := &obsv1.ObservabilityStack{}
	if err := yaml.UnmarshalStrict(text, stack); err != nil {
		t.Fatal(err)
	}
	return stack
}

// reader is somebody with the rights of the role view: all but Secrets.
func reader(t *testing.T, plane *testenv.ControlPlane, api client.Client) string {
	t.Helper()
	read := []string{"get", "list", "watch"}
	testenv.Create(t, api, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"obstack.dev", "monitoring.coreos.com", "apps", "batch", "networking.k8s.io"},
				Resources: []string{"*"}, Verbs: read},
			{APIGroups: []string{""}, Resources: []string{"configmaps", "services", "pods", "namespaces"}, Verbs: read},
		},
	})
	testenv.Create(t, api, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}},
	})
	kubeconfig, err := plane.User("jane")
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func TestStatus(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for _, name := range []string{"healthy", "broken"} {
		createStack(t, api, name)
	}
	limited := reader(t, plane, api)
	for _, test := range []struct {
		golden, kubeconfig string
		args               []string
		code               int
	}{
		{"status/healthy.txt", plane.Kubeconfig, []string{"status", "healthy", "-n", "shop"}, exitWell},
		{"status/broken.txt", plane.Kubeconfig, []string{"status", "broken", "-n", "shop"}, exitWrong},
		{"status/wide.txt", plane.Kubeconfig, []string{"status", "broken", "-n", "shop", "-o", "wide"}, exitWrong},
		{"status/all.txt", limited, []string{"status", "-A"}, exitWrong},
	} {
		out, errs, code := kubectlObstack(t, test.kubeconfig, test.args...)
		golden(t, test.golden, out)
		if code != test.code || errs != "" {
			t.Errorf("%v ends with %d and says %q, want %d and nothing", test.args, code, errs, test.code)
		}
		if strings.Contains(out, "marked-secret") {
			t.Errorf("%v shows a secret", test.args)
		}
	}
	out, _, _ := kubectlObstack(t, plane.Kubeconfig, "__complete", "status", "-n", "shop", "")
	if !strings.HasPrefix(out, "broken\nhealthy\n:4\n") {
		t.Errorf("completion offers %q, want the names of the stacks and no files", out)
	}
	out, _, _ = kubectlObstack(t, plane.Kubeconfig, "status", "-A", "-o", "json")
	report := StatusReport{}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Stacks) != 2 {
		t.Errorf("the JSON has %d stacks (%v), want 2:\n%s", len(report.Stacks), err, out)
	}
	wantResults(t, plane.Kubeconfig, []result{
		{[]string{"status", "shop"}, "namespace default has no ObservabilityStack shop", exitWrong},
		{[]string{"status"}, "No ObservabilityStacks found", exitWell},
		{[]string{"status", "-n", "shp"}, "error: there is no namespace shp", exitWrong},
		{[]string{"status", "-w", "-n", "shp"}, "error: there is no namespace shp", exitWrong},
		{[]string{"status", "healthy", "-n", "shp"}, "error: there is no namespace shp", exitWrong},
		{[]string{"explain", "api", "-n", "shp"}, "error: there is no namespace shp", exitWrong},
		{[]string{"explain", "deployment/api", "-n", "shp"}, "error: there is no namespace shp", exitWrong},
		{[]string{"status", "a", "b"}, "at most one STACK", exitUsage},
		{[]string{"status", "a", "-A"}, "exclude each other", exitUsage},
		{[]string{"status", "-o", "xml"}, "must be one of wide, json, yaml", exitUsage},
		{[]string{"status", "--colour"}, "unknown flag", exitUsage},
		{[]string{"statsu"}, `no command "statsu"`, exitUsage},
	})
}

// TestStatusOfANamespaceThatMayNotBeRead is what it was: who may not read the Namespace cannot know
// whether it is there.
func TestStatusOfANamespaceThatMayNotBeRead(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	testenv.Create(t, api, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "stacks"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stacks"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joe"}},
	})
	testenv.Create(t, api, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "stacks"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{obsv1.GroupVersion.Group}, Verbs: []string{"get", "list"},
			Resources: []string{"observabilitystacks"}}},
	})
	joe, err := plane.User("joe")
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, joe, []result{
		{[]string{"status", "-n", "shp"}, "No ObservabilityStacks found", exitWell},
		{[]string{"status", "shop", "-n", "shp"}, "namespace shp has no ObservabilityStack shop", exitWrong},
	})
}

// createBareStack with its status, and without objects.
func createBareStack(t testing.TB, api client.Client, name string) {
	t.Helper()
	stack := stackFile(t, name)
	status := stack.Status
	testenv.Create(t, api, stack)
	stack.Status = status
	stack.Status.ObservedGeneration = stack.Generation
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
}

// createStack with its status, a dashboard, and a Secret that nobody may see.
func createStack(t testing.TB, api client.Client, name string) {
	t.Helper()
	createBareStack(t, api, name)
	labels := map[string]string{
		obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: name, obsv1.LabelStackNamespace: "shop",
		obsv1.LabelComponent: "dashboards",
	}
	testenv.Create(t, api, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + "-dashboard-overview", Labels: labels},
	})
	labels[obsv1.LabelComponent] = "settings"
	testenv.Create(t, api, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obstack.shop." + name + ".0", Labels: labels},
		StringData: map[string]string{"SENTRY_DSN": "https://marked-secret@example.com/1"},
	})
}

// result of a command line: what it says on the error stream, among other things, and its exit
// status.
type result struct {
	args []string
	says string
	code int
}

func wantResults(t *testing.T, kubeconfig string, results []result) {
	t.Helper()
	for _, want := range results {
		_, errs, code := kubectlObstack(t, kubeconfig, want.args...)
		if code != want.code || !strings.Contains(errs, want.says) {
			t.Errorf("%v ends with %d and says %q, want %d and %q", want.args, code, errs, want.code, want.says)
		}
	}
}

func TestTreeCannotSteerATerminal(t *testing.T) {
	var out bytes.Buffer
	n := node{text: "a", says: "evil \x1b[2J\u009b text", branches: []node{{text: "b"}, {text: "c"}}}
	n.print(printer{out: &out})
	if want := "a\n│  evil [2J text\n├─ b\n└─ c\n"; out.String() != want {
		t.Errorf("it prints %q, not %q", out.String(), want)
	}
	out.Reset()
	node{text: "a", state: metav1.ConditionFalse}.print(printer{out: &out, colour: true})
	if want := "\x1b[31ma\x1b[0m\n"; out.String() != want {
		t.Errorf("on a terminal it prints %q, not %q", out.String(), want)
	}
}
