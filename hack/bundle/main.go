// SPDX-License-Identifier: Apache-2.0

// Bundle keeps the bundle for Python of a release in python/earlier, and no other, so that the next
// version carries it too. A release whose bundle is that of this version needs nothing.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"obstack.dev/obstack/python"
)

const (
	source  = "python/obstack/bundle"
	earlier = "python/earlier"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "bundle: name one release, as in: go run ./hack/bundle v0.1.0")
		os.Exit(2)
	}
	kept, err := keep(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
	fmt.Println(kept)
}

// keep writes the bundle of a release, and says what became of it.
func keep(release string) (string, error) {
	bundle, err := released(release)
	if err != nil {
		return "", err
	}
	folders, err := filepath.Glob(filepath.Join(earlier, "*", ""))
	if err != nil {
		return "", fmt.Errorf("list %s: %w", earlier, err)
	}
	for _, folder := range folders {
		if filepath.Base(folder) != "README.md" {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}
	hash := bundle.Hash()
	if hash == python.Current() {
		return "the bundle of " + release + " is that of this version", err
	}
	return "kept " + path.Join(earlier, hash), errors.Join(err, write(filepath.Join(earlier, hash), bundle))
}

// released reads the bundle as it was in a release.
func released(release string) (python.Bundle, error) {
	names, err := git("ls-tree", "--name-only", release, source+"/")
	if err != nil {
		return nil, err
	}
	bundle := python.Bundle{}
	for name := range strings.FieldsSeq(names) {
		if path.Ext(name) != ".py" {
			continue
		}
		if bundle[path.Base(name)], err = git("show", release+":"+name); err != nil {
			return nil, err
		}
	}
	if len(bundle) == 0 {
		return nil, fmt.Errorf("%s has no %s", release, source)
	}
	return bundle, nil
}

func write(folder string, bundle python.Bundle) error {
	err := os.MkdirAll(folder, 0o755)
	for name, text := range bundle {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	return err
}

func git(args ...string) (string, error) {
	var said bytes.Buffer
	command := exec.Command("git", args...)
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return string(out), nil
}
