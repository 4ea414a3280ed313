// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"obstack.dev/obstack/python"
)

// older is the bundle of the release v0.1.0, and v0.2.0 has that of this version.
var older = python.Bundle{"sitecustomize.py": "import _obstack\n", "_obstack.py": "# \u00e4 release\n"}

// releases makes a repository with them, and one without a bundle.
func releases(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	// Run by a hook, git would commit to the repository of that. Whoever runs it may sign commits,
	// and read another language.
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"} {
		t.Setenv(name, "") // So that it is as before at the end.
		os.Unsetenv(name)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	t.Setenv("LC_ALL", "C")
	run(t, "init", "--quiet")
	release(t, "v0.0.1", nil, map[string]string{"README.md": "no module"})
	release(t, "v0.1.0", older, map[string]string{"README.md": "no module"})
	release(t, "v0.2.0", python.Get(python.Current()), nil)
	files(t, earlier, map[string]string{"README.md": "stays", "0123/old.py": "goes"})
}

// TestKeepCarriesTheBundleOfARelease, and no other one beside this version's.
func TestKeepCarriesTheBundleOfARelease(t *testing.T) {
	releases(t)
	got, err := keep("v0.1.0")
	if want := "kept python/earlier/" + older.Hash(); err != nil || got != want {
		t.Errorf("keep = %q, %v, want %q", got, err, want)
	}
	// That is what an operator that is built now would carry.
	all := python.CarriedIn(os.DirFS("python"))
	if got := slices.Sorted(maps.Keys(all)); len(got) != 2 || all[python.Current()] == nil || all[older.Hash()] == nil {
		t.Errorf("carries %v, want %s and %s", got, python.Current(), older.Hash())
	}
	if !maps.Equal(all[older.Hash()], older) {
		t.Errorf("carries %v, want the bundle as it was released", all[older.Hash()])
	}
	if _, err := os.Stat(earlier + "/README.md"); err != nil {
		t.Error(err)
	}
}

func TestKeepCarriesNoBundleTwice(t *testing.T) {
	releases(t)
	got, err := keep("v0.2.0")
	if want := "the bundle of v0.2.0 is that of this version"; err != nil || got != want {
		t.Errorf("keep = %q, %v, want %q", got, err, want)
	}
	if all := python.CarriedIn(os.DirFS("python")); len(all) != 1 {
		t.Errorf("carries %d bundles, want this version's alone", len(all))
	}
}

func TestKeepSaysWhatIsWrongWithARelease(t *testing.T) {
	releases(t)
	for release, want := range map[string]string{
		"v9.9.9": "Not a valid object name v9.9.9", "v0.0.1": "v0.0.1 has no python/obstack/bundle",
	} {
		if _, err := keep(release); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("keep %s: %v, want %s", release, err, want)
		}
	}
}

// release commits a bundle and some other files in its folder, and tags that.
func release(t *testing.T, tag string, bundle python.Bundle, others map[string]string) {
	t.Helper()
	if err := os.RemoveAll(source); err != nil {
		t.Fatal(err)
	}
	files(t, source, bundle)
	files(t, source, others)
	run(t, "add", ".")
	run(t, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--message", tag)
	run(t, "tag", tag)
}

func files(t *testing.T, folder string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.Command("git", args...).CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, output)
	}
}
