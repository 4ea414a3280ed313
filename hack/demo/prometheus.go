// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/test/testenv"
)

// startPrometheus starts it with the scrapes of the stack, and then loads the stack's rules: alerts
// of rules that are there from the start are not recorded before the third evaluation, because
// Prometheus looks first for what it knew of them before it was restarted.
func (d *demo) startPrometheus(
	ctx context.Context, stack *obsv1.ObservabilityStack, program string, scrapes []any,
) error {
	dir := filepath.Join(d.cp.Dir(), "prometheus")
	file, rules := filepath.Join(dir, "prometheus.yaml"), filepath.Join(dir, "rules.yaml")
	interval := scrapeInterval.String()
	if err := errors.Join(
		os.MkdirAll(dir, 0o700),
		writeYAML(rules, map[string]any{}),
		writeYAML(file, map[string]any{
			"global": map[string]any{
				"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval,
			},
			"rule_files": []string{rules}, "scrape_configs": scrapes,
		}),
	); err != nil {
		return fmt.Errorf("configure Prometheus: %w", err)
	}
	address, err := testenv.FindAddress()
	if err != nil {
		return err
	}
	process, err := d.cp.StartProcess("prometheus", exec.Command(program, "--config.file="+file,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--web.enable-lifecycle"))
	if err != nil {
		return err
	}
	d.parts.prometheus = &url.URL{Scheme: "http", Host: address}
	if err := awaitReady(ctx, process, d.parts.prometheus.String()+"/-/ready"); err != nil {
		return err
	}
	return d.loadRules(ctx, stack, rules)
}

// loadRules writes those of the stack's PrometheusRules into a file, and has Prometheus read it.
func (d *demo) loadRules(ctx context.Context, stack *obsv1.ObservabilityStack, file string) error {
	rules := &monitoringv1.PrometheusRuleList{}
	if err := d.api.List(ctx, rules, ofStack(stack)...); err != nil {
		return fmt.Errorf("list the PrometheusRules: %w", err)
	}
	groups, err := ruleGroups(rules.Items)
	if err != nil {
		return err
	}
	if err := writeYAML(file, map[string]any{"groups": groups}); err != nil {
		return fmt.Errorf("write the rules: %w", err)
	}
	_, err = d.parts.ask(ctx, http.MethodPost, "/-/reload")
	return err
}

// client of the Prometheus.
func (l *liveParts) client() promclient.Client {
	return promclient.Client{URL: l.prometheus, HTTP: http.DefaultClient}
}

// ask sends Prometheus a request and returns its response.
func (l *liveParts) ask(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, l.prometheus.String()+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status + ": " + string(body))
	}
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %s %s: %w", method, path, err)
	}
	return body, nil
}

func writeYAML(file string, content any) error {
	text, err := yaml.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// awaitReady waits until a process responds well at a URL.
func awaitReady(ctx context.Context, process *testenv.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	probe := &http.Client{Timeout: 5 * time.Second}
	err := process.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := probe.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // It does not listen yet.
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", process.Name, err)
	}
	return nil
}
