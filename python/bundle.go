// SPDX-License-Identifier: Apache-2.0

// Package python has the bundles of modules for applications in Python that the operator carries:
// this version's, and those of versions before it that are kept. What is in them is tested in
// Python.
package python

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// The names of modules begin with '_', which a folder alone would leave out.
//
//go:embed obstack/bundle/*.py all:earlier
var files embed.FS

// Bundle is the text of modules, by the names of their files.
type Bundle map[string]string

var (
	hash    = read(files, bundle).Hash()
	carried = CarriedIn(files)
)

const bundle, earlier = "obstack/bundle", "earlier"

// Current is the hash of this version's bundle.
func Current() string { return hash }

// Get returns the bundle of that hash; nil if it is not carried.
func Get(of string) Bundle { return carried[of] }

// CarriedIn are the bundles in this folder, which is the tree, by their hashes.
func CarriedIn(tree fs.FS) map[string]Bundle {
	current := read(tree, bundle)
	bundles := map[string]Bundle{current.Hash(): current}
	entries, _ := fs.ReadDir(tree, earlier)
	for _, entry := range entries {
		if entry.IsDir() {
			bundles[entry.Name()] = read(tree, path.Join(earlier, entry.Name()))
		}
	}
	return bundles
}

// Hash names the bundle by its content.
func (b Bundle) Hash() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(b)) {
		_, _ = fmt.Fprintf(sum, "%s\x00%d\x00%s", name, len(b[name]), b[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// read a folder of modules. What is embedded can be read.
func read(tree fs.FS, folder string) Bundle {
	modules := Bundle{}
	entries, _ := fs.ReadDir(tree, folder)
	for _, entry := range entries {
		if path.Ext(entry.Name()) == ".py" {
			text, _ := fs.ReadFile(tree, path.Join(folder, entry.Name()))
			modules[entry.Name()] = string(text)
		}
	}
	return modules
}
