// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/testenv"
)

// prometheus is a running server.
type prometheus struct {
	url string
	cmd *exec.Cmd
}

// startPrometheus scrapes and evaluates at the intervals that are usual: 30 s, and 15 s for task exporters.
func startPrometheus(ctx context.Context, binary, dir, address string, stacks, pods int) (*prometheus, error) {
	listen, err := testenv.FindAddress()
	if err != nil {
		return nil, err
	}
	apis := map[string]any{"job_name": "api", "metrics_path": "/api", "static_configs": targets(address, stacks, pods, "obstack_monitor", "api")}
	exporters := map[string]any{"job_name": "tasks", "metrics_path": "/tasks", "scrape_interval": "15s",
		"static_configs": targets(address, stacks, 1, "obstack_broker", "main")}
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s"},
		"rule_files": []string{filepath.Join(dir, "*.rules.yaml")}, "scrape_configs": []any{apis, exporters},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--storage.tsdb.retention.time=60d",
		"--web.listen-address="+listen, "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &prometheus{url: "http://" + listen, cmd: cmd}
	for range 120 {
		if response, err := http.Get(p.url + "/-/ready"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	return nil, errors.Join(errors.New("wait for Prometheus: not ready within two minutes"), p.stop())
}

func targets(address string, stacks, pods int, label, name string) []any {
	var configs []any
	for i := range stacks {
		for pod := range pods {
			configs = append(configs, map[string]any{"targets": []string{address}, "labels": map[string]string{
				"namespace": fmt.Sprintf("shop-%d", i), "obstack_stack": "shop", label: name, "pod": fmt.Sprintf("%s-%d", name, pod),
			}})
		}
	}
	return configs
}

func (p *prometheus) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

func (p *prometheus) get(path string, into any) error {
	response, err := http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// number is the value of a query with one result.
func (p *prometheus) number(query string) (float64, error) {
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := p.get("/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
		return 0, err
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("%s: %d results, want one: %s", query, len(answer.Data.Result), answer.Error)
	}
	return strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
}

// result is what was found, times as seconds.
type result struct {
	Stacks, Rules int
	// Scraped and Recorded are numbers of series.
	Scraped, Recorded float64
	// Alerts, Quick and Long are the mean time that a round of one stack's groups
	// of alerts, of its SLOs, and of their long windows takes.
	Alerts, Quick, Long float64
	// CPU and CPUWithout are the processor time that the whole of Prometheus takes in
	// each second, with the rules and without; Memory is its resident bytes, with them.
	CPU, CPUWithout, Memory float64
}

type groupsAnswer struct {
	Data struct {
		Groups []struct {
			Name           string
			EvaluationTime float64
			Rules          []struct{ Name, Health, LastError string }
		}
	}
}

// observe looks at the groups twice a minute and takes the mean.
func (p *prometheus) observe(ctx context.Context, span time.Duration) (result, error) {
	var found result
	rounds := int(span / lookEvery)
	began := time.Now()
	cpu, err := p.own("process_cpu_seconds_total")
	if err != nil {
		return found, err
	}
	for range rounds {
		if err := pause(ctx, lookEvery); err != nil {
			return found, err
		}
		var answer groupsAnswer
		if err := p.get("/api/v1/rules", &answer); err != nil {
			return found, err
		}
		if err := found.add(answer, float64(rounds)); err != nil {
			return found, err
		}
	}
	after, err := p.own("process_cpu_seconds_total")
	if err != nil {
		return found, err
	}
	found.CPU = (after - cpu) / time.Since(began).Seconds()
	return found, p.totals(&found)
}

// lookEvery is how often the groups are looked at: as often as the fastest are evaluated.
const lookEvery = 30 * time.Second

// dropRules makes Prometheus read its configuration again, in which no rule matches any more.
func (p *prometheus) dropRules(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.rules.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := pause(ctx, lookEvery); err != nil {
		return err
	}
	var answer groupsAnswer
	if err := p.get("/api/v1/rules", &answer); err != nil {
		return err
	}
	if n := len(answer.Data.Groups); n > 0 {
		return fmt.Errorf("%d groups of rules are left", n)
	}
	return nil
}

// busy is the processor time that Prometheus takes in each second.
func (p *prometheus) busy(ctx context.Context, span time.Duration) (float64, error) {
	began := time.Now()
	before, err := p.own("process_cpu_seconds_total")
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, span); err != nil {
		return 0, err
	}
	after, err := p.own("process_cpu_seconds_total")
	return (after - before) / time.Since(began).Seconds(), err
}

// own is one of Prometheus' metrics about itself.
func (p *prometheus) own(name string) (float64, error) {
	response, err := http.Get(p.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("metric %s is missing: %w", name, lines.Err())
}

// add counts one look at all groups.
func (r *result) add(answer groupsAnswer, rounds float64) error {
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				return fmt.Errorf("%s: rule %s is %s: %s", group.Name, rule.Name, rule.Health, rule.LastError)
			}
		}
		spent := group.EvaluationTime / rounds
		switch {
		case strings.HasSuffix(group.Name, ":long"):
			r.Long += spent
		case strings.Contains(group.Name, ":slo:"):
			r.Quick += spent
		default:
			r.Alerts += spent
		}
	}
	return nil
}

// totals asks for what is known of the whole server.
func (p *prometheus) totals(found *result) error {
	for _, ask := range []struct {
		query string
		into  *float64
	}{
		{`count({__name__=~"obstack:.*"})`, &found.Recorded},
		{`count({__name__=~".+",__name__!~"obstack:.*"})`, &found.Scraped},
	} {
		value, err := p.number(ask.query)
		if err != nil {
			return err
		}
		*ask.into = value
	}
	var err error
	found.Memory, err = p.own("process_resident_memory_bytes")
	return err
}
