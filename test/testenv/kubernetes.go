// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// envKubernetes is the variable that chooses a version of Kubernetes, such as 1.30.
	envKubernetes     = "KUBERNETES_VERSION"
	defaultKubernetes = "1.37"
)

// kubernetesDir is the folder, below the checkout, of the go.mod from which the whole control plane
// of the chosen version is built.
func kubernetesDir(root string) (string, error) {
	minor := cmp.Or(os.Getenv(envKubernetes), defaultKubernetes)
	files, err := filepath.Glob(filepath.Join(root, controlplaneDir, "[0-9]*", "go.mod"))
	if err != nil {
		return "", fmt.Errorf("look for versions of Kubernetes: %w", err)
	}
	versions := make([]string, 0, len(files))
	for _, file := range files {
		versions = append(versions, filepath.Base(filepath.Dir(file)))
	}
	if !slices.Contains(versions, minor) {
		return "", fmt.Errorf("%s=%s: must be one of %s", envKubernetes, minor, strings.Join(versions, ", "))
	}
	return filepath.Join(controlplaneDir, minor), nil
}

// checkVersion refuses programs that somebody has given if another version is asked for: a test
// that passes would be believed to pass on that one.
func checkVersion(ctx context.Context, given string) error {
	asked := os.Getenv(envKubernetes)
	if asked == "" {
		return nil
	}
	output, err := exec.CommandContext(ctx, filepath.Join(given, string(APIServer)), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask kube-apiserver of %s for its version: %w", given, err)
	}
	has := strings.TrimSpace(string(output))
	if !strings.HasPrefix(has, "Kubernetes v"+asked+".") {
		return fmt.Errorf("%s holds %s, and %s=%s asks for another: unset one of them", given, has, envKubernetes, asked)
	}
	return nil
}
