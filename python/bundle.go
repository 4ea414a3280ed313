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
	current = read("obstack/bundle")
	hash    = current.Hash()
	carried = all()
)

// Current is the hash of this version's bundle.
func Current() string { return hash }

// Get returns the bundle of that hash; nil if it is not carried.
func Get(of string) Bundle { return carried[of] }

// all that are carried, by their hashes.
func all() map[string]Bundle {
	bundles := map[string]Bundle{hash: current}
	entries, _ := fs.ReadDir(files, "earlier")
	for _, entry := range entries {
		if entry.IsDir() {
			bundles[entry.Name()] = read(path.Join("earlier", entry.Name()))
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
func read(folder string) Bundle {
	bundle := Bundle{}
	entries, _ := fs.ReadDir(files, folder)
	for _, entry := range entries {
		if path.Ext(entry.Name()) == ".py" {
			text, _ := fs.ReadFile(files, path.Join(folder, entry.Name()))
			bundle[entry.Name()] = string(text)
		}
	}
	return bundle
}
