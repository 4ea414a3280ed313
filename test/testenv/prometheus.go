// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"io"
	"path/filepath"
)

const (
	prometheusModule = "github.com/prometheus/prometheus"
	// prometheusDir is the folder of the go.mod that pins it, below the checkout.
	prometheusDir = "hack/integration/prometheus"
)

// Prometheus is the path of a Prometheus without service discovery and without pages of its own,
// which the module does not hold. The first call builds it into the cache, and says so to log.
func Prometheus(ctx context.Context, log io.Writer) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	version, err := requiredVersion(filepath.Join(root, prometheusDir, "go.mod"), prometheusModule)
	if err != nil {
		return "", err
	}
	dir, err := versionDir(root, "prometheus-"+version, prometheusDir)
	if err != nil {
		return "", err
	}
	// Without service discovery: the SDKs of the clouds take minutes to build.
	source := buildable{
		Program: "prometheus", pkg: prometheusModule + "/cmd/prometheus", takes: "3 minutes", tags: "remove_all_sd",
	}
	path := filepath.Join(dir, string(source.Program))
	if intact(path) {
		return path, nil
	}
	unlock, err := lock(ctx, dir, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	// Looked at again: whoever held the lock may have built it.
	if intact(path) {
		return path, nil
	}
	b := &builder{root: root, dir: dir, module: prometheusDir, log: log}
	return path, b.buildOne(ctx, source)
}
