// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

const monitoringModule = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

// prometheusOperatorCRDs are the definitions that obstack and its users meet.
var prometheusOperatorCRDs = []string{
	"monitoring.coreos.com_podmonitors.yaml",
	"monitoring.coreos.com_prometheuses.yaml",
	"monitoring.coreos.com_prometheusrules.yaml",
	"monitoring.coreos.com_servicemonitors.yaml",
}

// PrometheusOperatorCRDs is a folder with prometheus-operator's CustomResourceDefinitions. They are
// generated from the types that this checkout uses, so that both are of one version and none of them
// is copied into the repository.
func PrometheusOperatorCRDs(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	version, err := requiredVersion(filepath.Join(root, "go.mod"), monitoringModule)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "prometheus-operator-crds-"+version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, generateCRDs(ctx, root, dir)
}

// certManagerModule is what the chart's users let make certificates.
const certManagerModule = "github.com/cert-manager/cert-manager@v1.19.1"

// CertManagerCRDs are the files of the CustomResourceDefinitions of cert-manager that
// the chart makes objects of.
func CertManagerCRDs(ctx context.Context) ([]string, error) {
	module, err := downloadModule(ctx, certManagerModule)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(module, "deploy", "crds")
	return []string{filepath.Join(dir, "cert-manager.io_certificates.yaml"), filepath.Join(dir, "cert-manager.io_issuers.yaml")}, nil
}

// downloadModule is the folder of a Go module in the module cache.
func downloadModule(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	// Outside of any module, so that no go.sum is changed.
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	output, err := cmd.Output()
	var response struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &response); jsonErr != nil || response.Dir == "" {
		return "", fmt.Errorf("download %s: %s %w", module, response.Error, err)
	}
	return response.Dir, nil
}

// generateCRDs fills dir in one step, because other processes look for it meanwhile.
func generateCRDs(ctx context.Context, root, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	generated, err := os.MkdirTemp(filepath.Dir(dir), ".crds-")
	if err != nil {
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	defer func() { _ = os.RemoveAll(generated) }()
	// Without descriptions, which nobody reads here and the API server takes long to publish.
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=hack/tools/go.mod", "controller-gen",
		"crd:maxDescLen=0", "paths="+monitoringModule+"/v1", "output:crd:dir="+generated)
	cmd.Dir = root
	interruptOnCancel(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("generate the definitions of prometheus-operator: %w\n%s", err, lastLines(string(output), 20))
	}
	if err := keepOnly(generated, prometheusOperatorCRDs); err != nil {
		return fmt.Errorf("generate the definitions of prometheus-operator: %w", err)
	}
	if err := os.Rename(generated, dir); err != nil {
		// Another process was faster: what it made is the same.
		if _, statErr := os.Stat(dir); statErr == nil {
			return nil
		}
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	return nil
}

// keepOnly removes all files of dir but those, each of which must be there.
func keepOnly(dir string, names []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := 0
	for _, entry := range entries {
		if slices.Contains(names, entry.Name()) {
			found++
		} else if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if found != len(names) {
		return fmt.Errorf("%d of %d definitions were generated", found, len(names))
	}
	return nil
}
