// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakePrograms is a folder with files of those names.
func fakePrograms(t *testing.T, programs ...Program) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(dir, string(p)), []byte(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAssetsThatAreGivenWin(t *testing.T) {
	given := fakePrograms(t, Etcd, APIServer)
	t.Setenv(envAssets, given)
	t.Setenv(envKubernetes, "")
	got, err := Assets(t.Context(), io.Discard, Etcd, APIServer)
	if err != nil || got != given {
		t.Errorf("Assets() = %s, %v, want %s", got, err, given)
	}
}

func TestAssetsThatAreGivenInPartAreJoinedWithTheCache(t *testing.T) {
	given, cached := fakePrograms(t, Etcd), fakePrograms(t, APIServer)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	programs := []Program{Etcd, APIServer}
	for range 2 { // the second time, the links exist
		dir, err := join(given, cached, programs, absent(given, programs))
		if err != nil {
			t.Fatal(err)
		}
		for program, want := range map[Program]string{Etcd: given, APIServer: cached} {
			got, err := os.ReadFile(filepath.Join(dir, string(program)))
			if err != nil || string(got) != want {
				t.Errorf("%s comes from %s (%v), want %s", program, got, err, want)
			}
		}
	}
}

func TestAssetsRefusesAnUnknownProgram(t *testing.T) {
	if _, err := Assets(t.Context(), io.Discard, "kubelet"); err == nil || !strings.Contains(err.Error(), "kubelet") {
		t.Errorf("error = %v, want one that names the program", err)
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	log := &strings.Builder{}
	if _, err := lock(ctx, dir, log); err == nil || !strings.Contains(log.String(), "waiting") {
		t.Errorf("error = %v, log %q, want to wait in vain and to say so", err, log)
	}
	unlock()
	again, err := lock(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestVersionsComeFromTheModules(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(root, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(filepath.Base(b.dir), b.version+"-") || !strings.HasPrefix(b.version, "v1.") {
		t.Errorf("folder %s, version %s, want a version of Kubernetes in both", b.dir, b.version)
	}
	flags := b.ldflags(sources[1])
	if !strings.Contains(flags, "gitVersion="+b.version) || !strings.Contains(flags, "gitMajor=1 ") {
		t.Errorf("flags = %s, want them to state the version", flags)
	}
	if flags := b.ldflags(sources[0]); flags != "-s -w" {
		t.Errorf("flags of etcd = %s, want none of Kubernetes", flags)
	}
}

// keepGoCache lets the go command find what it has built, or it would need minutes.
func keepGoCache(t *testing.T) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(output)))
}

func TestCRDsOfPrometheusOperator(t *testing.T) {
	keepGoCache(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for range 2 { // the second time, they are in the cache
		dir, err := PrometheusOperatorCRDs(t.Context(), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range prometheusOperatorCRDs {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
	}
}
