// SPDX-License-Identifier: Apache-2.0

// Package exporter tests the task exporter's program on real Redis and RabbitMQ servers and real
// Celery workers, which hack/integration/install.sh installs. Everything listens on free loopback
// ports and is stopped by its process id.
package exporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// parts returns the folder of what hack/integration/install.sh installed.
func parts(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("OBSTACK_INTEGRATION")
	if dir == "" {
		t.Skip("SKIPPED, NOT TESTED: no real Redis, RabbitMQ and Celery; run with " +
			"OBSTACK_INTEGRATION=$(hack/integration/install.sh)")
	}
	return dir
}

// built is the folder of the exporter's program, once a test needed it.
var built string

// coverage is where the exporter writes which of its code was run, if that is wanted. The go
// command keeps GOCOVERDIR from tests, so it has another name here.
var coverage = os.Getenv("OBSTACK_COVERAGE")

var build = sync.OnceValues(func() (program string, err error) {
	if built, err = os.MkdirTemp("", "task-exporter"); err != nil {
		return "", err
	}
	return testenv.BuildExporter(context.Background(), built)
})

func TestMain(m *testing.M) {
	m.Run()
	os.RemoveAll(built)
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// process is a program that runs until the test ends.
type process struct {
	*integration.Process
	t    testing.TB
	name string
	log  string
}

// output returns a file for a program's output, which is shown if the test fails.
func output(t testing.TB, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// until ends a process with the test, or fails the test if there is none.
func until(t testing.TB, name string, file *os.File) func(*integration.Process, error) *process {
	return func(started *integration.Process, err error) *process {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, tail(t, file.Name()))
		}
		t.Cleanup(func() {
			started.Kill()
			if t.Failed() {
				t.Logf("%s:\n%s", name, tail(t, file.Name()))
			}
		})
		return &process{started, t, name, file.Name()}
	}
}

func run(t testing.TB, name string, env []string, args ...string) *process {
	t.Helper()
	file := output(t, name)
	return until(t, name, file)(integration.Start(file, env, args...))
}

func (p *process) output() []byte {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

func tail(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return text[max(0, len(text)-3000):]
}

// stop ends the process and waits for it.
func (p *process) stop(s syscall.Signal) {
	p.t.Helper()
	if err := p.Stop(s, testenv.Timeout); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if err := integration.WaitFor(what, testenv.Timeout, condition); err != nil {
		t.Fatal(err)
	}
}

// startRedis starts a server on the port, with more settings given as on its command line.
func startRedis(t testing.TB, port int, settings ...string) *process {
	t.Helper()
	parts(t)
	file := output(t, "redis")
	return until(t, "redis", file)(integration.Redis(file, port, settings...))
}

// rabbit is a RabbitMQ server that can be started again.
type rabbit struct{ *integration.RabbitMQ }

func newRabbit(t testing.TB) rabbit {
	t.Helper()
	parts(t)
	server, err := integration.NewRabbitMQ(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Erlang = "+S 1:1" // the tests share two processors
	return rabbit{server}
}

func (r rabbit) start(t testing.TB) *process {
	t.Helper()
	file := output(t, "rabbitmq")
	return until(t, "rabbitmq", file)(r.Start(file))
}

// celery is an installed version of Celery with a configuration.
type celery struct {
	t       testing.TB
	version string // a folder of the real parts
	broker  string
	conf    map[string]any
}

func (c celery) env() []string {
	c.t.Helper()
	conf, err := json.Marshal(c.conf)
	if err != nil {
		c.t.Fatal(err)
	}
	app, err := filepath.Abs("testdata")
	if err != nil {
		c.t.Fatal(err)
	}
	return []string{
		"BROKER=" + c.broker, "CELERY_CONF=" + string(conf), "PYTHONPATH=" + app, "PYTHONDONTWRITEBYTECODE=1",
		"C_FORCE_ROOT=1",
	}
}

func (c celery) bin(name string) string { return filepath.Join(parts(c.t), c.version, "bin", name) }

// worker starts a worker and waits until it is ready.
func (c celery) worker(node string, args ...string) *process {
	c.t.Helper()
	p := run(c.t, "worker", c.env(),
		append([]string{c.bin("celery"), "-A", "app", "worker", "-n", node, "-l", "info"}, args...)...)
	eventually(c.t, "the worker is ready", func() bool { return bytes.Contains(p.output(), []byte(" ready.")) })
	return p
}

// order is a number of tasks to publish, with options of send_task.
type order struct {
	name    string
	count   int
	options map[string]any
}

// publish sends tasks in one process and returns their ids.
func (c celery) publish(orders ...order) []string {
	c.t.Helper()
	var list []any
	for _, o := range orders {
		if o.options == nil {
			o.options = map[string]any{}
		}
		list = append(list, []any{o.name, o.count, o.options})
	}
	text, err := json.Marshal(list)
	if err != nil {
		c.t.Fatal(err)
	}
	var ids []string
	if err := json.Unmarshal(c.python(string(text)), &ids); err != nil {
		c.t.Fatal(err)
	}
	return ids
}

func (c celery) python(args ...string) []byte {
	c.t.Helper()
	command := exec.Command(c.bin("python"), append([]string{"testdata/app.py"}, args...)...)
	command.Env = append(os.Environ(), c.env()...)
	output, err := command.Output()
	if err != nil {
		exit := &exec.ExitError{}
		errors.As(err, &exit)
		c.t.Fatalf("app.py: %v\n%s", err, exit.Stderr)
	}
	return output
}
