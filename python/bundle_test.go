// SPDX-License-Identifier: Apache-2.0

package python

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// What Kubernetes takes for a ConfigMap is a megabyte; the rest is manners.
func TestBundleIsWholeAndSmall(t *testing.T) {
	bundle, size := Get(Current()), 0
	modules, err := filepath.Glob("obstack/bundle/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range modules {
		if strings.HasSuffix(file, "__pycache__") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bundle[filepath.Base(file)] != string(text) {
			t.Errorf("the bundle has not %s as it is", file)
		}
		size += len(text)
	}
	if bundle["sitecustomize.py"] == "" || size >= 64<<10 {
		t.Errorf("the bundle has %d modules of %d bytes", len(bundle), size)
	}
}

func TestHashIsOfNamesAndTexts(t *testing.T) {
	seen := map[string]bool{}
	for _, bundle := range []Bundle{
		{"a.py": "x"}, {"b.py": "x"}, {"a.py": "y"}, {"a.py": "x", "b.py": ""}, {"a.py": "", "b.py": "x"}, {},
	} {
		seen[bundle.Hash()] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d hashes of 6 bundles", len(seen))
	}
}

// Templates name what was released by its hash, so it must never be another.
func TestEarlierBundlesAreAsTheyWereReleased(t *testing.T) {
	folders, err := fs.ReadDir(files, earlier)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		kept++
		if got := read(files, path.Join(earlier, folder.Name())).Hash(); got != folder.Name() || got == Current() {
			t.Errorf("earlier/%s holds the bundle %s: take the folder from the release that it is of", folder.Name(), got)
		}
	}
	if kept > 1 {
		t.Errorf("%d earlier bundles, want the last one alone", kept)
	}
	for _, none := range []string{"", "..", "README.md", strings.Repeat("0", 32)} {
		if Get(none) != nil {
			t.Errorf("there is a bundle %q", none)
		}
	}
}

// Each pass asks for each workload, whose label may be anything.
func TestGetReadsNoFiles(t *testing.T) {
	for _, of := range []string{Current(), strings.Repeat("0", 32)} {
		if allocated := testing.AllocsPerRun(10, func() { Get(of) }); allocated > 0 {
			t.Errorf("Get(%s) allocates %v times", of, allocated)
		}
	}
}
