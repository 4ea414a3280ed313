// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// coverage is where operators write which of their code was run, if that is wanted.
// The go command keeps GOCOVERDIR from tests, so it has another name here.
var coverage = os.Getenv("OBSTACK_COVERAGE")

// BuildOperator compiles the operator of this checkout into dir and returns the program. If
// OBSTACK_OPERATOR names one, as make test does, that is taken: linking it takes long.
func BuildOperator(ctx context.Context, dir string) (string, error) {
	if built := os.Getenv("OBSTACK_OPERATOR"); built != "" {
		return built, nil
	}
	var flags []string
	if coverage != "" {
		flags = append(flags, "-cover")
	}
	return compile(ctx, filepath.Join(dir, "obstack"), ".", flags...)
}

// BuildExporter compiles the task exporter of this checkout into dir, as it is released, and
// returns the program.
func BuildExporter(ctx context.Context, dir string) (string, error) {
	flags := []string{"-trimpath", "-ldflags=-s -w"}
	if coverage != "" {
		flags = append(flags, "-cover", "-coverpkg=./internal/taskexporter/...,./cmd/task-exporter")
	}
	return compile(ctx, filepath.Join(dir, "task-exporter"), "./cmd/task-exporter", flags...)
}

// compile a package of this checkout, and return the program.
func compile(ctx context.Context, program, pkg string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, flags, []string{"-o", program, pkg})...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	interruptOnCancel(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", filepath.Base(program), err, output)
	}
	return program, nil
}

// OperatorCommand is the program with these flags, in an environment of its own: what this
// program's caller reports to Sentry is not what a tested operator should.
func OperatorCommand(binary string, flags ...string) *exec.Cmd {
	cmd := exec.Command(binary, flags...)
	cmd.Env = append(os.Environ(), "SENTRY_DSN=", "GOCOVERDIR="+coverage)
	return cmd
}

// Operator is the operator of this checkout as a process of its own beside a control plane, for
// what cannot be tested or measured in-process: its death, restart, memory and requests.
type Operator struct {
	*Process

	command                *exec.Cmd
	health, metrics, pprof string
}

// StartOperator starts the program against a control plane, as the operator's account, with
// metrics, probes and profiles on free loopback ports. Operators that run at the same time
// need different names.
func StartOperator(plane *ControlPlane, binary, name string, flags ...string) (*Operator, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = FindAddress(); err != nil {
			return nil, err
		}
	}
	health, metrics, pprof := addresses[0], addresses[1], addresses[2]
	kubeconfig, err := plane.operatorKubeconfig()
	if err != nil {
		return nil, err
	}
	cmd := OperatorCommand(binary, append([]string{
		"--kubeconfig=" + kubeconfig, "--log-format=console",
		"--health-probe-bind-address=" + health, "--metrics-bind-address=" + metrics, "--metrics-secure=false",
		"--pprof-bind-address=" + pprof, "--dashboard-proof-interval=0", // There is no Grafana.
	}, flags...)...)
	process, err := plane.StartProcess(name, cmd)
	if err != nil {
		return nil, err
	}
	return &Operator{
		Process: process, command: cmd,
		health: "http://" + health, metrics: "http://" + metrics + "/metrics", pprof: "http://" + pprof + "/debug/pprof",
	}, nil
}

// WaitReady waits until the operator has read everything that it watches.
func (o *Operator) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return o.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		_, err := get(ctx, o.health+"/readyz")
		return err == nil, nil
	})
}

// Ready asks one of the readiness checks; the error says why it fails.
func (o *Operator) Ready(ctx context.Context, check string) error {
	_, err := get(ctx, o.health+"/readyz/"+check)
	return err
}

// Live asks the liveness probe.
func (o *Operator) Live(ctx context.Context) error {
	_, err := get(ctx, o.health+"/healthz")
	return err
}

// ExitCode is the exit status, to be read when Done is closed; -1 after a signal.
func (o *Operator) ExitCode() int { return o.command.ProcessState.ExitCode() }

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("ask the operator: %w", err)
	}
	// Nobody needs the response compressed, which takes more time than all else.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the operator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask the operator: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the operator: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
