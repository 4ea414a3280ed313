// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
mod) echo "{\"Dir\": \"$FAKE/kwok\"}";;
tool) echo "$FAKE/bin/setup-envtest"; [ -d "$FAKE/envtest" ];;
esac
`

// fake prepares an empty cache, the fake go, and an internet that responds with status.
func fake(t *testing.T, status int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{
		"bin/go":            fakeGo,
		"bin/setup-envtest": "#!/bin/sh\necho \"$FAKE/envtest\"\n",
	}
	for _, stage := range stageFiles {
		files["kwok/kustomize/stage/"+stage] = "kind: Stage\nmetadata: {name: " + path.Base(stage) + "}\n"
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
	t.Setenv(envKubernetes, "")

	internet := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
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
	if got := stageNames(t, dir); len(got) != len(stageFiles) {
		t.Errorf("stages of kwok = %v, want one of each of %v", got, stageFiles)
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
	given := fakePrograms(t, Etcd, APIServer, Kubectl)
	if err := os.Rename(given, fetched); err != nil {
		t.Fatal(err)
	}
	dir, err := Assets(t.Context(), &strings.Builder{}, Etcd, APIServer, Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, string(APIServer)); got != given {
		t.Errorf("kube-apiserver = %s, want the one that setup-envtest fetched", got)
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
	if err == nil || !strings.Contains(err.Error(), "build kube-scheduler") || !strings.Contains(err.Error(),
		"cannot build") {
		t.Errorf("error = %v, want the program and what go said", err)
	}
	if missing := lacking(dir, []Program{Scheduler}, intact); len(missing) == 0 {
		t.Error("a program is there although its build failed")
	}
}

// TestPrometheusIsBuiltOnce, and a build that fails says of what.
func TestPrometheusIsBuiltOnce(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	t.Setenv("FAKE_BROKEN", "prometheus")
	if _, err := Prometheus(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "build prometheus") ||
		!strings.Contains(err.Error(), "cannot build") {
		t.Errorf("error = %v, want the program and what go said", err)
	}
	t.Setenv("FAKE_BROKEN", "nothing")
	log := &strings.Builder{}
	path, err := Prometheus(t.Context(), log)
	if err != nil || !strings.HasSuffix(content(t, path), "/cmd/prometheus") {
		t.Fatalf("Prometheus = %s, %v", path, err)
	}
	log.Reset()
	if again, err := Prometheus(t.Context(), log); err != nil || again != path || log.Len() > 0 {
		t.Errorf("the second time: %s, %v, log %q, want %s and silence", again, err, log, path)
	}
}

// stageNames are the names of the objects in kwokStages.
func stageNames(t *testing.T, dir string) []string {
	t.Helper()
	objects, err := Objects(filepath.Join(dir, kwokStages))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(objects))
	for _, object := range objects {
		names = append(names, object.GetName())
	}
	return names
}

func TestCopyStagesWithAnEmptyModuleCache(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	was := strings.Fields(string(output))
	// The machine's own cache stands in for the internet, as far as it goes.
	t.Setenv("GOPROXY", "file://"+filepath.Join(was[0], "cache", "download")+","+was[1])
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -modcacherw") // So that the test's folder can be removed.
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(root, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.copyStages(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"node-initialize", "node-heartbeat-with-lease", "pod-ready", "pod-complete", "pod-delete"}
	if diff := cmp.Diff(want, stageNames(t, b.dir)); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

func TestAssetsReplacesDamagedFiles(t *testing.T) {
	stages, scheduler := kwokStages, string(Scheduler)
	for name, damage := range map[string]func(file string) error{
		"empty":     func(file string) error { return os.WriteFile(file, nil, 0o755) },
		"truncated": func(file string) error { return os.Truncate(file, 3) },
		"changed, of the same size": func(file string) error {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			text[0]++
			return os.WriteFile(file, text, 0o755)
		},
		"without a record, of an older obstack": func(file string) error { return os.Remove(recordPath(file)) },
		"gone":                                  os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, http.StatusServiceUnavailable)
			dir, err := Assets(t.Context(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{stages: content(t, dir, stages), scheduler: content(t, dir, scheduler)}
			if err := errors.Join(damage(filepath.Join(dir, stages)), damage(filepath.Join(dir, scheduler))); err != nil {
				t.Fatal(err)
			}
			log := &strings.Builder{}
			if _, err := Assets(t.Context(), log); err != nil {
				t.Fatal(err)
			}
			for file, want := range want {
				if got := content(t, dir, file); got != want {
					t.Errorf("%s = %q, want %q", file, got, want)
				}
			}
			if built := strings.Count(log.String(), "\nbuilding "); built != 2 {
				t.Errorf("%d programs were built again, want kube-scheduler and kwok alone:\n%s", built, log)
			}
		})
	}
}

func TestAssetsKeepsFilesWithOtherTimes(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	dir, err := Assets(t.Context(), io.Discard, Etcd)
	if err != nil {
		t.Fatal(err)
	}
	// As tar brings it back, in full seconds.
	when := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(dir, string(Etcd)), when, when); err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{}
	if _, err := Assets(t.Context(), log, Etcd); err != nil || log.Len() > 0 {
		t.Errorf("error %v, log %q, want the program of the cache and silence", err, log)
	}
}

func TestAssetsReplacesEmptyFilesThatAreGiven(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	given := fakePrograms(t, Etcd, APIServer, KWOK) // But no stages.
	if err := os.Truncate(filepath.Join(given, string(Etcd)), 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envAssets, given)
	dir, err := Assets(t.Context(), io.Discard, Etcd, APIServer, KWOK)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, string(APIServer)); got != given {
		t.Errorf("kube-apiserver = %q, want the given one", got)
	}
	if got := content(t, dir, string(Etcd)); got == "" || len(stageNames(t, dir)) != len(stageFiles) {
		t.Errorf("etcd = %q, stages %v, want those of the cache", got, stageNames(t, dir))
	}
}
