// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
)

const mainModule = "obstack.dev/obstack"

// Root is the folder of this checkout.
func Root() (string, error) {
	// With -trimpath the source file has no folder, hence the second try.
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if root, ok := findModule(filepath.Dir(file)); ok {
			return root, nil
		}
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	if root, ok := findModule(cwd); ok {
		return root, nil
	}
	return "", errors.New(
		"find the checkout: no go.mod of " + mainModule + " in " + cwd + " or above: run this inside the checkout")
}

// findModule walks up from dir to the folder that holds the main module.
func findModule(dir string) (string, bool) {
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(content, []byte("module "+mainModule+"\n")) {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

// requiredVersion is the version of module in the go.mod at path.
func requiredVersion(path, module string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", module, err)
	}
	match := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", path, module)
	}
	return string(match[1]), nil
}

// cacheDir is where everything that takes long to make is kept, outside the checkout.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for what is built: %w", err)
	}
	return filepath.Join(dir, "obstack", "controlplane"), nil
}
