// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/internal/viewer"
)

// dashboard is what the test needs of a dashboard.
type dashboard struct {
	Name       string `json:"-"`
	Title      string
	Templating struct {
		List []struct {
			Name    string
			Current struct{ Value any }
		}
	}
	Panels []panel

	// drawn is the same for the viewer.
	drawn *viewer.Dashboard
}

type panel struct {
	Title   string
	Options struct{ Content string }
	Targets []struct{ Expr string }
}

// interval of the dashboards' queries. The services are scraped every second here.
var interval = regexp.MustCompile(`"interval": ?"[0-9]+s"`)

// readStack reads testdata/stack.yaml with all defaults.
func readStack(t *testing.T) *obsv1.ObservabilityStack {
	t.Helper()
	admission, err := crd.NewAdmission(crd.Stacks)
	if err != nil {
		t.Fatal(err)
	}
	object, stack := map[string]any{}, &obsv1.ObservabilityStack{}
	readYAML(t, "testdata/stack.yaml", &object)
	if problems, err := admission.Admit(object, stack); err != nil || len(problems) > 0 {
		t.Fatalf("the API server would refuse the stack: %v, %v", problems, err)
	}
	return desired.Effective(stack, nil)
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestDashboardsFitGrafanasTypes type-checks the files, and what they become for the stack, against
// the types that Grafana publishes. make test has a stricter check of its own, which needs no Node
// but knows Grafana only by heart.
func TestDashboardsFitGrafanasTypes(t *testing.T) {
	const checker = "../../hack/grafana-schema"
	parts(t) // With the real parts comes npm.
	if _, err := os.Stat(checker + "/node_modules"); err != nil {
		t.Fatal("no types of Grafana: run make test-dashboards, which installs them")
	}
	files, err := filepath.Glob("../../controllers/desired/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	stack, dir := readStack(t), t.TempDir()
	for _, component := range desired.Components {
		for _, object := range component.Build(stack, desired.Inputs{ExporterImage: "obstack"}).Objects {
			configMap, ok := object.(*corev1.ConfigMap)
			if !ok {
				continue
			}
			for name, content := range configMap.Data {
				file := filepath.Join(dir, name)
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				files = append(files, file)
			}
		}
	}
	if output, err := exec.Command("node",
		append([]string{checker + "/check.mjs"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// derive returns the dashboards and the rules that obstack makes of the stack.
func derive(t *testing.T, stack *obsv1.ObservabilityStack) ([]dashboard, []monitoringv1.RuleGroup) {
	t.Helper()
	var dashboards []dashboard
	var rules []monitoringv1.RuleGroup
	for _, component := range desired.Components {
		for _, object := range component.Build(stack, desired.Inputs{ExporterImage: "obstack"}).Objects {
			switch object := object.(type) {
			case *monitoringv1.PrometheusRule:
				for _, group := range object.Spec.Groups {
					// The run ends before some groups would be evaluated once.
					group.Interval = nil
					rules = append(rules, group)
				}
			case *corev1.ConfigMap:
				for _, content := range object.Data {
					b := dashboard{Name: strings.TrimPrefix(object.Name, stack.Name+"-dashboard-")}
					if err := json.Unmarshal([]byte(content), &b); err != nil {
						t.Fatalf("%s: %v", object.Name, err)
					}
					var err error
					if b.drawn, err = viewer.Parse(interval.ReplaceAll([]byte(content), []byte(`"interval":"5s"`))); err != nil {
						t.Fatalf("%s: %v", object.Name, err)
					}
					dashboards = append(dashboards, b)
				}
			}
		}
	}
	if len(dashboards) != 7 || len(rules) == 0 {
		t.Fatalf("%d dashboards and %d groups of rules, want the overview, one for each framework, and the tasks",
			len(dashboards), len(rules))
	}
	return dashboards, rules
}

// grafana replaces what Grafana would.
func (b dashboard) grafana(stack *obsv1.ObservabilityStack, rateInterval, shown string) *strings.Replacer {
	monitor := ""
	for _, variable := range b.Templating.List {
		if variable.Name == "monitor" {
			monitor, _ = variable.Current.Value.(string)
		}
	}
	return strings.NewReplacer("$namespace", stack.Namespace, "$stack", stack.Name, "$monitor", monitor,
		"$broker", ".*", "$queue", ".*", "$task", ".*", "$__rate_interval", rateInterval, "$__range", shown)
}
