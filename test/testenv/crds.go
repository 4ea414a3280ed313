// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

const monitoringModule = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

// prometheusOperatorCRDs are the definitions that obstack and its users meet.
var prometheusOperatorCRDs = []string{
	"monitoring.coreos.com_podmonitors.yaml",
	"monitoring.coreos.com_prometheusagents.yaml",
	"monitoring.coreos.com_prometheuses.yaml",
	"monitoring.coreos.com_prometheusrules.yaml",
	"monitoring.coreos.com_servicemonitors.yaml",
	"monitoring.coreos.com_thanosrulers.yaml",
}

// PrometheusOperatorCRDs is a folder with prometheus-operator's CustomResourceDefinitions. They are
// generated from the types that this checkout uses, so that both are of one version and none of
// them is copied into the repository. The first call takes a while, and says so to log.
func PrometheusOperatorCRDs(ctx context.Context, log io.Writer) (string, error) {
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
	complete := func() bool {
		return !slices.ContainsFunc(prometheusOperatorCRDs, func(name string) bool {
			return !intact(filepath.Join(dir, name))
		})
	}
	if complete() {
		return dir, nil
	}
	unlock, err := lock(ctx, dir, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete() { // Whoever held the lock may have made them.
		return dir, nil
	}
	_, _ = fmt.Fprintln(log, "generating the definitions of prometheus-operator (half a minute the first time)")
	return dir, generateCRDs(ctx, root, dir)
}

// certManagerModule is what the chart's users let make certificates.
const certManagerModule = "github.com/cert-manager/cert-manager@v1.19.1"

// CertManagerCRDs are the files of the CustomResourceDefinitions of cert-manager that
// the chart makes objects of.
func CertManagerCRDs(ctx context.Context) ([]string, error) {
	module, err := downloadModule(ctx, os.TempDir(), certManagerModule)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(module, "deploy", "crds")
	return []string{
		filepath.Join(dir, "cert-manager.io_certificates.yaml"), filepath.Join(dir, "cert-manager.io_issuers.yaml"),
	}, nil
}

// downloadModule is the folder of a Go module in the module cache. Without a version it is the one
// that the module in dir requires, checked against its go.sum.
func downloadModule(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	interruptOnCancel(cmd)
	output, err := cmd.Output()
	var response struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &response); err == nil {
		err = jsonErr
	}
	if response.Error != "" {
		err = errors.New(response.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	}
	return response.Dir, nil
}

// generateCRDs fills dir.
func generateCRDs(ctx context.Context, root, dir string) error {
	generated, err := os.MkdirTemp(dir, ".generated-")
	if err != nil {
		return fmt.Errorf("generate the definitions of prometheus-operator: %w", err)
	}
	defer func() { _ = os.RemoveAll(generated) }()
	// Without descriptions, which nobody reads here and the API server takes long to publish.
	generator, err := Tool(ctx, "controller-gen")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, generator,
		"crd:maxDescLen=0", "paths="+monitoringModule+"/v1", "paths="+monitoringModule+"/v1alpha1",
		"output:crd:dir="+generated)
	cmd.Dir = root
	interruptOnCancel(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("generate the definitions of prometheus-operator: %w\n%s", err, lastLines(string(output)))
	}
	for _, name := range prometheusOperatorCRDs {
		file := filepath.Join(generated, name)
		if objects, _ := Objects(file); len(objects) != 1 {
			return fmt.Errorf("generate the definitions of prometheus-operator: %s is not among them", name)
		}
		if err := keep(file, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("keep the definitions of prometheus-operator: %w", err)
		}
	}
	return nil
}
