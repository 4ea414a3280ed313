// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
	"obstack.dev/obstack/test/testenv"
)

// TestInitFromCluster writes the stacks of applications: the objects of testdata/init/NAME/in.yaml.
func TestInitFromCluster(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	limited := reader(t, plane, api)
	for name, code := range map[string]int{
		"fastapi": exitWell, "django": exitWell, "nothing": exitWrong, "services": exitWell, "two": exitWell,
		"plain": exitWrong, "hostile": exitWell,
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
			objects, err := testenv.Objects(filepath.Join("testdata", "init", name, "in.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range objects {
				object.SetNamespace(name)
				testenv.Create(t, api, object)
			}
			wantStack(t, api, plane.Kubeconfig, name, "want.yaml", code)
			wantStack(t, api, limited, name, "want-view.yaml", code)
		})
	}
	wantResults(t, limited, []result{
		{[]string{"init", "Shop", "--from-cluster"}, "metadata.name must have at most 36 characters", exitUsage},
		{[]string{"init", "a", "b"}, "at most one NAME", exitUsage},
		{[]string{"init", "shop"}, "there is no terminal to ask at: write --from-cluster", exitUsage},
		{[]string{"init", "--from-cluster", "-n", "fastapi", "-o", "go.mod"}, "go.mod is there already", exitWrong},
	})
	nobody, err := plane.User("nobody")
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, nobody, []result{
		{[]string{"init", "--from-cluster", "-n", "shop"}, "you may not read Services in namespace shop", exitWrong},
	})
}

// wantStack compares what is written for a namespace, which the API server has to take.
func wantStack(t *testing.T, api client.Client, kubeconfig, namespace, want string, wantCode int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stack.yaml")
	_, errs, code := kubectlObstack(t, kubeconfig, "init", "--from-cluster", "-n", namespace, "-o", file)
	if code != wantCode {
		t.Errorf("init ends with %d and says %q, want %d", code, errs, wantCode)
	}
	text, err := os.ReadFile(file) // #nosec G304 -- of the test
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("init", namespace, want), string(text))
	if again, _, _ := kubectlObstack(t, kubeconfig, "init", "--from-cluster", "-n", namespace); again != string(text) {
		t.Errorf("the standard output differs:\n%s", cmp.Diff(string(text), again))
	}
	if strings.Contains(string(text)+errs, "marked-secret") {
		t.Error("it shows a secret")
	}
	stacks, err := testenv.Objects(file)
	if err != nil || len(stacks) != 1 {
		t.Fatalf("it holds %d objects (%v)", len(stacks), err)
	}
	if err := api.Create(t.Context(), stacks[0], client.DryRunAll); err != nil {
		t.Error(err)
	}
}

// TestDraftIsWhatItWrites: YAML keeps every text as it is.
func TestDraftIsWhatItWrites(t *testing.T) {
	d, err := newDraft("shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"on", "No", "1", "1e3", "0x1", "~", "null", "a b", "plain", "a#b", "é"} {
		if problem := d.try(func(stack *obsv1.ObservabilityStack) {
			stack.Spec.Sentry = &obsv1.SentrySpec{Release: text}
		}); problem != "" {
			t.Fatal(problem)
		}
		d.comments["spec.sentry"] = "above\nevil: yes"
		file := filepath.Join(t.TempDir(), "stack.yaml")
		var out strings.Builder
		if err := d.write(&out); err != nil {
			t.Fatal(err)
		}
		if err := writeNew(file, []byte(out.String())); err != nil {
			t.Fatal(err)
		}
		got, err := readObjects(nil, file, "ObservabilityStack", crd.Stacks,
			func() *obsv1.ObservabilityStack { return &obsv1.ObservabilityStack{} })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d.stack, got[0]); diff != "" {
			t.Errorf("%q is read as another stack (-draft +read):\n%s", text, diff)
		}
	}
}

func TestAsk(t *testing.T) {
	var questions strings.Builder
	d, err := newDraft("shop")
	if err != nil {
		t.Fatal(err)
	}
	replies := "Shop\nshop2\n\n=\n\nshop-redis\nshop-redis/url\nshop-sentry/dsn\n"
	if err := ask(t.Context(), strings.NewReader(replies), &questions, d, true); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := d.write(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "init/asked.yaml", out.String())
	for _, want := range []string{
		"called? [shop]: ", "at most 36 characters", "run? [production]: ", "[app=shop2]: write a label",
		"key: Required value", "broker, such as shop-redis/url (- for none) [-]: ",
	} {
		if !strings.Contains(questions.String(), want) {
			t.Errorf("it does not say %q, but:\n%s", want, questions.String())
		}
	}
	if err := ask(t.Context(), strings.NewReader("a\n"), &questions, d, false); err == nil {
		t.Error("it goes on where the replies end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := ask(ctx, in, &questions, d, false); err == nil {
		t.Error("Ctrl-C does not end the questions")
	}
}
