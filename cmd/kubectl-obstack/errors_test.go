// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// wantOneLine of errors, and nothing in it that steers a terminal.
func wantOneLine(t *testing.T, what, errs string) {
	t.Helper()
	line, more, _ := strings.Cut(errs, "\n")
	if line == "" || more != "" || strings.ContainsAny(line, "\x1b\a\r\u2028\u202e\u009b") {
		t.Errorf("%s: the error is %q, want one line for people", what, errs)
	}
}

// TestErrorsForgeNoLine of a log, in which ::error:: at the start of a line is a command for a CI.
func TestErrorsForgeNoLine(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"gitVersion":"v1.33.0"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":503,"reason":"ServiceUnavailable",`+
			`"message":"m\n::error::x\u001b[2J\u009b2J\u2028\u202e"}`)
	}))
	defer api.Close()
	for _, args := range [][]string{
		{"status"}, {"status", "-w"}, {"explain", "deployment/a"}, {"rollout", "a"}, {"verify", "a"}, {"pause", "a"},
		{"init", "--from-cluster"}, {"diff", "-f", "testdata/verify/shop.yaml"}, {"dashboard", "a"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append(args, "--kubeconfig=/dev/null", "--server="+api.URL),
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
		if code == exitWell || code == exitUsage {
			t.Errorf("%v ends with %d", args, code)
		}
		wantOneLine(t, strings.Join(args, " "), errs.String())
	}
}

func TestNamesInFilesAreNames(t *testing.T) {
	for _, tc := range []struct{ metadata, says string }{
		{`{name: a, namespace: "shop\n::error::x\e[2J"}`, "is not the name of a namespace"},
		{`{name: a, namespace: "../kube-system"}`, `"../kube-system" of ObservabilityStack "a" is not the name of a`},
		{`{name: a, namespace: a.b}`, "is not the name of a namespace"},
		{`{name: "a\n::error::x\e[2J", namespace: shop}`, "metadata.name must have"},
		{`{name: ../b, namespace: shop}`, "metadata.name must have"},
	} {
		file := filepath.Join(t.TempDir(), "stack.yaml")
		text := "apiVersion: obstack.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: " + tc.metadata +
			"\nspec: {metrics: {monitors: [{name: a, selector: {matchLabels: {a: b}}}]}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for command, want := range map[string]int{"render": exitWrong, "diff": exitUnknown} {
			out, errs, code := kubectlObstack(t, "/dev/null", command, "-f", file, "--server=http://127.0.0.1:1")
			if code != want || out != "" || !strings.Contains(errs, tc.says) {
				t.Errorf("%s with %s ends with %d and says %q and %q, want %q", command, tc.metadata, code, errs, out, tc.says)
			}
			wantOneLine(t, command+" with "+tc.metadata, errs)
		}
	}
}
