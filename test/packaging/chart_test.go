// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChartLints(t *testing.T) {
	for name, file := range valuesFiles(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := helm(t, "lint", "--strict", chart, "--values", file); err != nil {
				t.Error(err)
			}
		})
	}
}

// Values that would change from one rendering to the next, such as a generated
// password, make GitOps tools see drift for ever.
func TestChartRendersTheSameTwice(t *testing.T) {
	for name := range valuesFiles(t) {
		first, err := template(t, values(name))
		if err != nil {
			t.Fatal(err)
		}
		second, err := template(t, values(name), "--is-upgrade")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: an upgrade renders other objects than the installation:\n%s", name,
				cmp.Diff(string(first), string(second)))
		}
	}
}

// What a template asks the cluster, its environment or chance for cannot be rendered
// twice in different places with one result.
func TestTemplatesAskForNothingThatChanges(t *testing.T) {
	changing := regexp.MustCompile(
		`\b(lookup|gen[A-Z]\w+|rand[A-Z]\w+|now|date\w*|uuidv4|htpasswd|bcrypt|getHostByName|derivePassword)\b`)
	comment, action := regexp.MustCompile(`(?s)\{\{-? /\*.*?\*/`), regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("templates: %v, %v", files, err)
	}
	for _, file := range files {
		for _, found := range action.FindAllString(comment.ReplaceAllString(string(read(t, file)), "{{"), -1) {
			if changing.MatchString(found) {
				t.Errorf("%s: %s", filepath.Base(file), found)
			}
		}
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	cases := map[string]struct{ set, want string }{
		"misspelt":                 {"replicas=2", "'replicas' not allowed"},
		"misspelt below":           {"metrics.serviceMonitor.enable=true", "'enable' not allowed"},
		"number as a string":       {"replicaCount=two", "/replicaCount"},
		"boolean as a string":      {"crds.enabled=maybe", "/crds/enabled"},
		"list as a string":         {"watchNamespaces=team-a", "/watchNamespaces"},
		"namespace in capitals":    {"watchNamespaces[0]=Team", "/watchNamespaces/0"},
		"namespace twice":          {"watchNamespaces={a,a}", "/watchNamespaces"},
		"unknown log level":        {"logging.level=warn", "/logging/level"},
		"unknown log format":       {"logging.format=text", "/logging/format"},
		"digest without algorithm": {"image.digest=0123", "/image/digest"},
		"image in the tag":         {"image.tag=ghcr.io/x:v1", "/image/tag"},
		"port of the probes":       {"metrics.port=8081", "/metrics/port"},
		"privileged port":          {"metrics.port=443", "/metrics/port"},
		"duration without unit":    {"metrics.serviceMonitor.interval=30x", "/metrics/serviceMonitor/interval"},
		"argument without dashes":  {"extraArgs={v=1}", "/extraArgs/0"},
		"timeout too long":         {"webhook.timeoutSeconds=31", "/webhook/timeoutSeconds"},
		"no timeout":               {"webhook.timeoutSeconds=0", "/webhook/timeoutSeconds"},
		"authority as PEM":         {"webhook.certSecret=mine,webhook.caBundle=-----BEGIN", "/webhook/caBundle"},
		"excluded in capitals":     {"webhook.excludedNamespaces={Team}", "/webhook/excludedNamespaces/0"},
		"webhook on a probe port":  {"webhook.port=8081", "/webhook/port"},
		"two makers":               {"webhook.certManager.enabled=true,webhook.certSecret=mine", "exclude each other"},
		"authority of nobody":      {"webhook.caBundle=bWluZQ==", "webhook.caBundle needs webhook.certSecret"},
		"one port for two":         {"webhook.port=8443", "webhook.port and metrics.port are both 8443"},
		"token to anybody":         {"metrics.serviceMonitor.enabled=true,injection.enabled=false", "set metrics.certSecret"},
		"account of every Pod":     {"serviceAccount.create=false", "set it to the account that you made"},
		"replicas without leader": {
			"replicaCount=2,leaderElection.enabled=false", "replicaCount > 1 needs leaderElection.enabled",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := template(t, "--set", tc.set); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("--set %s: %v, want an error about %s", tc.set, err, tc.want)
			}
		})
	}
}

// A chart that has this one as a dependency passes these two along.
func TestChartWorksAsADependency(t *testing.T) {
	if _, err := template(t, "--set", "enabled=true,global.imageRegistry=example.com"); err != nil {
		t.Error(err)
	}
}

func TestChartRefusesOldKubernetes(t *testing.T) {
	if _, err := template(t, "--kube-version", "1.29.9"); err == nil || !strings.Contains(err.Error(), ">=1.30.0") {
		t.Errorf("for 1.29.9: %v, want an error that names the oldest version", err)
	}
	if _, err := template(t, "--kube-version", "1.30.0-gke.1"); err != nil {
		t.Error(err)
	}
}

// Copies of generated files lie in the chart; make keeps them equal.
func TestCopiesAreCurrent(t *testing.T) {
	for pattern, dir := range map[string]string{
		"crd/bases/*.yaml": "crds", "rbac/*role.yaml": "rbac", "webhook/manifests.yaml": "webhook",
		"policy/policy.yaml": "policy",
	} {
		sources, err := filepath.Glob(filepath.Join(root, "config", pattern))
		if err != nil || len(sources) == 0 {
			t.Fatalf("%s: %v, %v", pattern, sources, err)
		}
		copies, err := filepath.Glob(filepath.Join(chart, "files", dir, "*"))
		if err != nil || len(copies) != len(sources) {
			t.Errorf("%d copies in files/%s, want %d: run make generate", len(copies), dir, len(sources))
		}
		for _, source := range sources {
			if !bytes.Equal(read(t, source), read(t, filepath.Join(chart, "files", dir, filepath.Base(source)))) {
				t.Errorf("files/%s/%s differs from config: run make generate", dir, filepath.Base(source))
			}
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal(read(t, path), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
