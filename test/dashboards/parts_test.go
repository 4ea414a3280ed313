// SPDX-License-Identifier: Apache-2.0

// Package dashboards tries the dashboards on a real Prometheus, which scrapes real services of
// every framework and the task exporter beside real Celery workers, under a load of known rates and
// errors. hack/integration/dashboards.sh installs the parts. Everything listens on free loopback
// ports and is stopped by its process id.
package dashboards

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// parts returns the folder of what hack/integration/dashboards.sh installed.
func parts(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OBSTACK_INTEGRATION")
	if dir == "" {
		t.Skip("SKIPPED, NOT TESTED: no real Prometheus, Redis, Celery and frameworks; run make test-dashboards")
	}
	return dir
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// logOf a program, whose end is shown if the test fails.
func logOf(t *testing.T, name string) *os.File {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if output, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s:\n%s", name, output[max(0, len(output)-2000):])
		}
	})
	return log
}

// run starts a program in a process group of its own, until the test ends.
func run(t *testing.T, name string, env []string, args ...string) {
	t.Helper()
	log := logOf(t, name)
	defer log.Close()
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = command.Wait()
	})
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(testenv.Timeout); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, testenv.Timeout)
		}
	}
}

func serves(url string) bool {
	response, err := http.Get(url)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode < http.StatusInternalServerError
}

// service is an application of testdata/apps, a monitor of the stack.
type service struct {
	monitor, framework string
	// rate of the requests that the load sends it, per second.
	rate int
	url  string
	// bundle serves its metrics at an address of their own; empty without it.
	bundle string
}

func (s service) metrics() string { return cmp.Or(s.bundle, s.url) + "/metrics" }

// app is its program, and the name of its kept scrape.
func (s service) app() string {
	if s.monitor == obsv1.MonitorPython {
		return s.monitor
	}
	return s.framework
}

// monitors of the stack, which have no address yet.
func monitors() []service {
	return []service{
		{monitor: "api", framework: "fastapi", rate: 10}, {monitor: "star", framework: "starlette", rate: 5},
		{monitor: "admin", framework: "django", rate: 5}, {monitor: "legacy", framework: "flask", rate: 5},
		{monitor: "cart", framework: "opentelemetry", rate: 5}, {monitor: obsv1.MonitorPython, framework: "fastapi", rate: 5},
	}
}

// startServices starts one application for each framework, and one that does nothing for its
// metrics.
func startServices(t *testing.T) []service {
	t.Helper()
	services := monitors()
	for i := range services {
		s := &services[i]
		port, env := freePort(t), []string{"PYTHONDONTWRITEBYTECODE=1"}
		s.url = fmt.Sprintf("http://127.0.0.1:%d", port)
		if s.monitor == obsv1.MonitorPython {
			beside := freePort(t)
			s.bundle = fmt.Sprintf("http://127.0.0.1:%d", beside)
			env = append(env, "PYTHONPATH=../../python/obstack/bundle", "OBSTACK_RUN_DIR="+t.TempDir(),
				fmt.Sprintf("OBSTACK_METRICS_PORT=%d", beside))
		}
		run(t, s.app(), env, filepath.Join(parts(t), "frameworks", "bin", "python"),
			filepath.Join("testdata", "apps", s.app()+"_app.py"), strconv.Itoa(port))
	}
	for _, s := range services {
		eventually(t, s.app()+" serves", func() bool { return serves(s.metrics()) })
	}
	return services
}

// celery is a broker with workers and the task exporter.
type celery struct {
	python, broker, exporter string
	// done is the file in which tasks write when they ended.
	done string
}

func (c celery) env() []string {
	return []string{
		"BROKER=" + c.broker, "DONE=" + c.done, "PYTHONPATH=testdata", "PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1",
	}
}

func startCelery(t *testing.T) celery {
	t.Helper()
	program, err := testenv.BuildExporter(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	redis, port := freePort(t), freePort(t)
	bin := filepath.Join(parts(t), "celery-newest", "bin")
	c := celery{
		python: filepath.Join(bin, "python"), broker: fmt.Sprintf("redis://127.0.0.1:%d/0", redis),
		exporter: fmt.Sprintf("http://127.0.0.1:%d", port), done: filepath.Join(t.TempDir(), "done"),
	}
	run(t, "redis", nil, "redis-server", "--port", strconv.Itoa(redis), "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no")
	run(t, "exporter", []string{"CE_BROKER_URL=" + c.broker}, program, "--host", "127.0.0.1", "--port", strconv.Itoa(port),
		"--queues", "celery,emails,reports", "--queue-interval", "1")
	eventually(t, "the exporter hears Redis", func() bool {
		response, err := http.Get(c.exporter + "/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	run(t, "worker", c.env(), filepath.Join(bin, "celery"), "-A", "tasks", "worker", "-n", "w1@host-1", "-c", "2", "-Q",
		"celery,emails")
	return c
}
