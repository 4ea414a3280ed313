// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	monitoringModule         = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
	prometheusOperatorModule = "github.com/prometheus-operator/prometheus-operator"
)

// prometheusOperatorCRDs are the definitions that obstack and its users meet.
var prometheusOperatorCRDs = []string{
	"monitoring.coreos.com_podmonitors.yaml",
	"monitoring.coreos.com_prometheuses.yaml",
	"monitoring.coreos.com_prometheusrules.yaml",
	"monitoring.coreos.com_servicemonitors.yaml",
}

// PrometheusOperatorCRDs is a folder with prometheus-operator's
// CustomResourceDefinitions, of the version whose types this checkout uses. They
// come from its Go module, so that none of them is copied into the repository.
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
	module, err := downloadModule(ctx, prometheusOperatorModule+"@"+version)
	if err != nil {
		return "", err
	}
	return dir, copyCRDs(filepath.Join(module, "example", "prometheus-operator-crd"), dir)
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
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &answer); jsonErr != nil || answer.Dir == "" {
		return "", fmt.Errorf("download %s: %s %w", module, answer.Error, err)
	}
	return answer.Dir, nil
}

// copyCRDs fills dir in one step, because other processes look for it meanwhile.
func copyCRDs(from, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), ".crds-")
	if err != nil {
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	for _, name := range prometheusOperatorCRDs {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return fmt.Errorf("read the definitions of prometheus-operator: %w", err)
		}
		if err := os.WriteFile(filepath.Join(temporary, name), content, 0o644); err != nil {
			return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
		}
	}
	if err := os.Rename(temporary, dir); err != nil {
		// Another process was faster: what it made is the same.
		if _, statErr := os.Stat(dir); statErr == nil {
			return nil
		}
		return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
	}
	return nil
}
