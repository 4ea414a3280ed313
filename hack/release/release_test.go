// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/testenv"
)

// TestMain runs the tests where the program is run.
func TestMain(m *testing.M) {
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		panic(err)
	}
	m.Run()
}

// krewManifest is what a test reads of it.
type krewManifest struct {
	Spec struct {
		Version, ShortDescription string
		Platforms                 []struct {
			Selector struct {
				MatchLabels struct{ OS, Arch string }
			}
			URI, SHA256, Bin string
		}
	}
}

// text is built where no program is needed.
func text(p platform, binary string) error { return os.WriteFile(binary, fmt.Append(nil, p), 0o600) }

// releaseFolder is what the release workflow has made, in OBSTACK_DIST, or else is built here.
func releaseFolder(t *testing.T, build func(platform, string) error) (string, krewManifest) {
	t.Helper()
	dir := os.Getenv("OBSTACK_DIST")
	if dir == "" {
		dir = t.TempDir()
		r := release{version: "v1.2.3", time: time.Unix(1800000000, 0), build: build}
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "obstack.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m := krewManifest{}
	if err := yaml.Unmarshal(content, &m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

func tool(t *testing.T, name string, env []string, args ...string) {
	t.Helper()
	path, err := testenv.Tool(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, args...)
	command.Env = append(os.Environ(), env...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, output)
	}
}

// TestKrewInstallsEveryArchive with krew itself, which checks the sums. Unless a release is given,
// only the program for this platform is one.
func TestKrewInstallsEveryArchive(t *testing.T) {
	dir, m := releaseFolder(t, func(p platform, binary string) error {
		if p == (platform{runtime.GOOS, runtime.GOARCH}) {
			return build(t.Context(), p, "v1.2.3", binary)
		}
		return text(p, binary)
	})
	manifest := filepath.Join(dir, "obstack.yaml")
	tool(t, "validate-krew-manifest", nil, "-manifest", manifest, "-skip-install")
	if len(m.Spec.Platforms) != len(platforms) {
		t.Errorf("the manifest has %d platforms, want %d", len(m.Spec.Platforms), len(platforms))
	}
	ran := 0
	for _, p := range m.Spec.Platforms {
		root := t.TempDir()
		labels := p.Selector.MatchLabels
		tool(t, "krew", []string{"KREW_ROOT=" + root, "KREW_OS=" + labels.OS, "KREW_ARCH=" + labels.Arch},
			"install", "--manifest", manifest, "--archive", filepath.Join(dir, filepath.Base(p.URI)))
		wantInstalled(t, filepath.Join(root, "store", "obstack", m.Spec.Version), platform(labels))
		if platform(labels) == (platform{runtime.GOOS, runtime.GOARCH}) {
			ran++
			output, err := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "kubectl-obstack"), "--version").Output()
			if want := "kubectl obstack version " + m.Spec.Version + "\n"; err != nil || string(output) != want {
				t.Errorf("the program prints %q (%v), want %q", output, err, want)
			}
		}
	}
	if ran != 1 {
		t.Errorf("%d archives are for %s/%s, want 1", ran, runtime.GOOS, runtime.GOARCH)
	}
}

// wantInstalled files that a platform needs, the programs among them executable.
func wantInstalled(t *testing.T, dir string, p platform) {
	t.Helper()
	want := []string{"LICENSE", p.Bin()}
	if p.OS != "windows" {
		want = append(want, "kubectl_complete-obstack")
	}
	for _, name := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || name != "LICENSE" && info.Mode()&0o111 == 0 {
			t.Errorf("%v: %s is missing, or nobody may run it: %v", p, name, err)
		}
	}
}

// TestChecksums as people check them.
func TestChecksums(t *testing.T) {
	dir, m := releaseFolder(t, text)
	sums, err := os.ReadFile(filepath.Join(dir, "kubectl-obstack_"+m.Spec.Version+"_checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Spec.Platforms {
		if line := p.SHA256 + "  " + filepath.Base(p.URI) + "\n"; !strings.Contains(string(sums), line) {
			t.Errorf("the checksums lack %q", line)
		}
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict")
	check.Dir, check.Stdin = dir, bytes.NewReader(sums)
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, output)
	}
}

// TestManifestKeepsToTheRulesOfKrewsIndex that its tools do not check.
func TestManifestKeepsToTheRulesOfKrewsIndex(t *testing.T) {
	_, m := releaseFolder(t, text)
	description := m.Spec.ShortDescription
	if len(description) > 50 || strings.Contains(description, "plugin") || strings.Contains(description, "Kubernetes") {
		t.Errorf("%q is longer than 50 characters, or says what everybody there knows", description)
	}
	downloads := "https://github.com/obstack/obstack/releases/download/" + m.Spec.Version + "/"
	for _, p := range m.Spec.Platforms {
		if !strings.HasPrefix(p.URI, downloads) {
			t.Errorf("%s is not below %s", p.URI, downloads)
		}
	}
}

// TestEqualCommitsGiveEqualBytes, whenever and wherever they are built.
func TestEqualCommitsGiveEqualBytes(t *testing.T) {
	var first [][]byte
	for range 2 {
		dir := t.TempDir()
		r := release{version: "v1.2.3", time: time.Unix(1800000000, 0), build: text}
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, content)
		}
		if len(got) != len(platforms)+2 {
			t.Errorf("there are %d files, want an archive for each platform, checksums and a manifest", len(got))
		}
		for i := range first {
			if !bytes.Equal(first[i], got[i]) {
				t.Errorf("%s differs", entries[i].Name())
			}
		}
		first = got
	}
}

func TestVersionMustBeOneOfARelease(t *testing.T) {
	for _, version := range []string{"", "dev", "1.2.3", "v1.2", "v1.2.3 "} {
		if err := run(t.Context(), version, t.TempDir()); err == nil || !strings.Contains(err.Error(), "must be vX.Y.Z") {
			t.Errorf("-version=%q gives %v", version, err)
		}
	}
}
