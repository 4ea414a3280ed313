// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// fakeGo stands in for the go command, because building Kubernetes takes minutes.
// It "builds" the name of the package, finds the module of kwok in $FAKE/kwok and
// the files of setup-envtest in $FAKE/envtest.
const fakeGo = `#!/bin/sh
case "$1" in
build)
  while [ "$1" != "-o" ]; do shift; done
  case "$3" in *"$FAKE_BROKEN") echo "cannot build $3" >&2; exit 1;; esac
  echo compiled/package >&2
  echo "$3" >"$2";;
list) echo "$FAKE/kwok";;
tool) echo "$FAKE/envtest"; [ -d "$FAKE/envtest" ];;
esac
`

// fake prepares an empty cache, the fake go, and an internet that answers with status.
func fake(t *testing.T, status int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{
		"bin/go": fakeGo,
		"kwok/kustomize/stage/node/fast/node-initialize.yaml": "kind: Stage\nmetadata: {name: node}\n",
		"kwok/kustomize/stage/node/fast/kustomization.yaml":   "kind: Kustomization\n",
		"kwok/kustomize/stage/pod/fast/pod-ready.yaml":        "kind: Stage\nmetadata: {name: pod}\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FAKE", dir)
	t.Setenv("FAKE_BROKEN", "nothing")
	t.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("HOME", dir)
	t.Setenv(envAssets, "")

	internet := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(internet.Close)
	index := envtest.DefaultBinaryAssetsIndexURL
	envtest.DefaultBinaryAssetsIndexURL = internet.URL
	t.Cleanup(func() { envtest.DefaultBinaryAssetsIndexURL = index })
	return dir
}

func content(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestProgramsAreBuiltOnceWithoutTheInternet(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	log := &strings.Builder{}
	dir, err := Assets(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		if got := content(t, dir, string(s.Program)); got != s.pkg {
			t.Errorf("%s is built from %s, want %s", s.Program, got, s.pkg)
		}
	}
	want := "kind: Stage\nmetadata: {name: node}\n\n---\nkind: Stage\nmetadata: {name: pod}"
	if got := content(t, dir, kwokStages); got != want {
		t.Errorf("stages of kwok:\n%s\nwant:\n%s", got, want)
	}
	if !strings.Contains(log.String(), "building kube-apiserver (about 5 minutes the first time)") {
		t.Errorf("log = %s\nwant it to say what is built and how long that takes", log)
	}

	log.Reset()
	if again, err := Assets(t.Context(), log); err != nil || again != dir || log.Len() > 0 {
		t.Errorf("the second time: %s, %v, log %q, want %s and silence", again, err, log, dir)
	}
}

func TestSetupEnvtestIsPreferredWhereTheInternetIsReachable(t *testing.T) {
	fetched := filepath.Join(fake(t, http.StatusOK), "envtest")
	if err := os.Rename(fakePrograms(t, Etcd, APIServer, Kubectl), fetched); err != nil {
		t.Fatal(err)
	}
	dir, err := Assets(t.Context(), &strings.Builder{}, Etcd, APIServer, Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	if content(t, dir, string(APIServer)) != content(t, fetched, string(APIServer)) {
		t.Error("kube-apiserver is not the one that setup-envtest fetched")
	}
	if got := content(t, dir, string(Scheduler)); !strings.HasSuffix(got, "/kube-scheduler") {
		t.Errorf("kube-scheduler = %s, want it to be built: setup-envtest has none", got)
	}
}

func TestProgramsAreBuiltIfSetupEnvtestFails(t *testing.T) {
	fake(t, http.StatusOK)
	dir, err := Assets(t.Context(), &strings.Builder{}, APIServer)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, string(APIServer)); !strings.HasSuffix(got, "/kube-apiserver") {
		t.Errorf("kube-apiserver = %s, want it to be built", got)
	}
}

func TestAFailedBuildSaysWhyAndLeavesNoProgram(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	t.Setenv("FAKE_BROKEN", "kube-scheduler")
	dir, err := Assets(t.Context(), &strings.Builder{}, Scheduler)
	if err == nil || !strings.Contains(err.Error(), "build kube-scheduler") || !strings.Contains(err.Error(), "cannot build") {
		t.Errorf("error = %v, want the program and what go said", err)
	}
	if missing := absent(dir, []Program{Scheduler}); len(missing) == 0 {
		t.Error("a program is there although its build failed")
	}
}
