// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/integration"
)

// prometheus is a running server.
type prometheus struct{ url string }

// startPrometheus scrapes the services and the exporter every second, with the labels that their
// ServiceMonitors set, and evaluates the stack's rules.
func startPrometheus(t *testing.T, stack *obsv1.ObservabilityStack, rules []monitoringv1.RuleGroup, services []service,
	workers celery) prometheus {
	t.Helper()
	dir := t.TempDir()
	target := func(address, label, name string) map[string]any {
		labels := map[string]string{
			"namespace": stack.Namespace, "pod": stack.Name + "-" + name + "-0", obsv1.SeriesStack: stack.Name, label: name,
		}
		if name == obsv1.MonitorPython {
			labels[obsv1.SeriesWorkload] = stack.Namespace + "/" + name
		}
		return map[string]any{
			"job_name": stack.Name + "-" + name,
			"static_configs": []any{map[string]any{
				"targets": []string{strings.TrimPrefix(address, "http://")},
				"labels":  labels,
			}},
		}
	}
	scrapes := []any{target(workers.exporter, obsv1.SeriesBroker, "main")}
	for _, s := range services {
		scrapes = append(scrapes, target(strings.TrimSuffix(s.metrics(), "/metrics"), obsv1.SeriesMonitor, s.monitor))
	}
	write(t, filepath.Join(dir, "rules.yaml"), map[string]any{"groups": rules})
	write(t, filepath.Join(dir, "prometheus.yaml"), map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
		"rule_files": []string{filepath.Join(dir, "rules.yaml")}, "scrape_configs": scrapes,
	})
	log := logOf(t, "prometheus")
	defer log.Close()
	p, err := integration.StartPrometheus(log, filepath.Join(parts(t), "prometheus"),
		filepath.Join(dir, "prometheus.yaml"), filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return prometheus{p.URL}
}

func write(t *testing.T, file string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// series is one series of a response.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  sample            `json:"value"`
}

// sample is a time, in seconds, and a value.
type sample struct{ at, value float64 }

// UnmarshalJSON reads Prometheus' [time, "value"].
func (s *sample) UnmarshalJSON(content []byte) error {
	var text string
	if err := json.Unmarshal(content, &[]any{&s.at, &text}); err != nil {
		return err
	}
	var err error
	s.value, err = strconv.ParseFloat(text, 64)
	return err
}

// at evaluates an expression and leaves out what is not a number. One that Prometheus refuses fails
// the test.
func (p prometheus) at(t *testing.T, expr string, when time.Time) []series {
	t.Helper()
	response, err := http.PostForm(p.url+"/api/v1/query", url.Values{"query": {expr}, "time": {seconds(when)}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Error string
		Data  struct{ Result []series }
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || body.Error != "" {
		t.Errorf("%s: %v %s", expr, err, body.Error)
	}
	var numbers []series
	for _, s := range body.Data.Result {
		if !math.IsNaN(s.Value.value) {
			numbers = append(numbers, s)
		}
	}
	return numbers
}

func seconds(when time.Time) string {
	return strconv.FormatFloat(float64(when.UnixMilli())/1000, 'f', 3, 64)
}
