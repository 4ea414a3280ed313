// SPDX-License-Identifier: Apache-2.0

// Package exporter tests the task exporter's program on real Redis and RabbitMQ servers and real Celery workers, which
// hack/realparts/install.sh installs. Everything listens on free loopback ports and is stopped by its process id.
package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// parts returns the folder of what hack/realparts/install.sh installed.
func parts(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("OBSTACK_REALPARTS")
	if dir == "" {
		t.Skip("SKIPPED, NOT TESTED: no real Redis, RabbitMQ and Celery; run with OBSTACK_REALPARTS=$(hack/realparts/install.sh)")
	}
	return dir
}

// built is the folder of the exporter's program, once a test needed it.
var built string

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "task-exporter")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "task-exporter")
	args := []string{"build", "-trimpath", "-ldflags=-s -w"}
	if os.Getenv("GOCOVERDIR") != "" {
		args = append(args, "-cover", "-coverpkg=obstack.dev/obstack/internal/taskexporter/...")
	}
	command := exec.Command("go", append(args, "-o", path, "obstack.dev/obstack/cmd/task-exporter")...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the exporter: %w\n%s", err, output)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	m.Run()
	os.RemoveAll(built)
}

// freePort returns a port that nothing listens on at the moment.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// process is a program that runs until the test ends.
type process struct {
	t       testing.TB
	name    string
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// run starts a program in a process group of its own. Its output goes to a file, which is shown if the test fails.
func run(t testing.TB, name string, env []string, args ...string) *process {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = file, file
	command.Dir = filepath.Dir(file.Name())
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, command: command, log: file.Name(), ended: make(chan struct{})}
	go func() {
		_ = command.Wait() // how it ends is the test's business
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(p.output()))
		}
	})
	return p
}

func (p *process) output() []byte {
	output, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return output
}

func tail(output []byte) []byte { return output[max(0, len(output)-3000):] }

// signal sends a signal to the process and its children.
func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.command.Process.Pid, s) // it may have ended
}

// stop ends the process and waits for it.
func (p *process) stop(s syscall.Signal) {
	p.t.Helper()
	p.signal(s)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%s does not end", p.name)
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, limit time.Duration, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func listens(port int) bool {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err == nil {
		connection.Close()
	}
	return err == nil
}

// startRedis starts a server on the port, with more settings given as on its command line.
func startRedis(t testing.TB, port int, settings ...string) *process {
	t.Helper()
	parts(t)
	args := []string{"redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	p := run(t, "redis", nil, append(args, settings...)...)
	if port != 0 {
		eventually(t, "redis listens", 20*time.Second, func() bool { return listens(port) })
	}
	return p
}

// rabbit is a RabbitMQ server that can be started again on the same port.
type rabbit struct {
	port, distribution, epmd int
	dir                      string
}

func newRabbit(t testing.TB) *rabbit {
	t.Helper()
	parts(t)
	r := &rabbit{port: freePort(t), distribution: freePort(t), epmd: freePort(t), dir: t.TempDir()}
	run(t, "epmd", []string{"HOME=" + r.dir}, "epmd", "-port", fmt.Sprint(r.epmd), "-address", "127.0.0.1")
	definitions := `{"vhosts": [{"name": "/"}, {"name": "shop"}],
		"users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
		"permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
			{"user": "guest", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}]}`
	r.write(t, "definitions.json", definitions)
	r.write(t, "enabled_plugins", "[].")
	r.write(t, "rabbitmq.conf", fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d\nload_definitions = %s\n", r.port, r.path("definitions.json")))
	return r
}

func (r *rabbit) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rabbit) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *rabbit) start(t testing.TB) *process {
	t.Helper()
	p := run(t, "rabbitmq", []string{
		fmt.Sprintf("RABBITMQ_NODENAME=obstack%d@localhost", r.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", r.distribution),
		fmt.Sprintf("ERL_EPMD_PORT=%d", r.epmd), "ERL_EPMD_ADDRESS=127.0.0.1", "HOME=" + r.dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE=" + r.path("rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + r.path("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + r.path("data"), "RABBITMQ_LOG_BASE=" + r.path("log"), "RABBITMQ_PID_FILE=" + r.path("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
	}, "/usr/lib/rabbitmq/bin/rabbitmq-server")
	eventually(t, "rabbitmq listens", 90*time.Second, func() bool { return listens(r.port) })
	return p
}

func (r *rabbit) url(vhost string) string {
	return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/%s", r.port, vhost)
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
	return []string{"BROKER=" + c.broker, "CELERY_CONF=" + string(conf), "PYTHONPATH=" + app, "PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1"}
}

func (c celery) bin(name string) string { return filepath.Join(parts(c.t), c.version, "bin", name) }

// worker starts a worker and waits until it is ready.
func (c celery) worker(node string, args ...string) *process {
	c.t.Helper()
	p := run(c.t, "worker", c.env(), append([]string{c.bin("celery"), "-A", "app", "worker", "-n", node, "-l", "info"}, args...)...)
	eventually(c.t, "the worker is ready", 60*time.Second, func() bool { return bytes.Contains(p.output(), []byte(" ready.")) })
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
