// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"obstack.dev/obstack/test/cgroup"
)

// asProgram makes this test's binary run main, to see how it exits.
const asProgram = "TEST_AS_TASK_EXPORTER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	m.Run()
}

// program is this binary as the exporter, with nothing but these variables.
func program(t *testing.T, env []string, args ...string) (command *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	command = exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append([]string{asProgram + "=1"}, env...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	command.Stdout, command.Stderr = stdout, stderr
	return command, stdout, stderr
}

func TestExitStatus(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, taken, _ := net.SplitHostPort(listener.Addr().String())
	tests := map[string]struct {
		env, args      []string
		code           int
		stdout, stderr string
	}{
		"help":         {nil, []string{"--help"}, 0, "--broker-url=STRING", ""},
		"short help":   {nil, []string{"-h"}, 0, "CE_BROKER_URL", ""},
		"no broker":    {nil, nil, 2, "", "task-exporter: --broker-url (CE_BROKER_URL) is missing; accepted are redis://"},
		"unknown flag": {nil, []string{"--colour", "red"}, 2, "", `task-exporter: unknown flag --colour`},
		"bad value": {
			[]string{"CE_BROKER_URL=redis://h", "CE_PORT=http"}, nil, 2, "",
			`task-exporter: --port: expected a valid 64 bit int but got "http"`,
		},
		"scheme": {
			[]string{"CE_BROKER_URL=sqs://key:secret@"}, nil, 2, "", `task-exporter: --broker-url: sqs:// is not supported: `,
		},
		"malformed URL": {
			nil, []string{"--broker-url", "redis://u:secret@h:port/0"}, 2, "", `the URL redis://...: the port is not a number`,
		},
		"bad escape": {
			nil, []string{"--broker-url", "amqp://u:12/secret@h"}, 2, "", "special characters of the password percent-encoded",
		},
		"URL as word": {nil, []string{"redis://u:secret@h/0"}, 2, "", "an argument is no option"},
		"port in use": {
			[]string{"CE_BROKER_URL=redis://127.0.0.1:1"}, []string{"--host", "127.0.0.1", "--port", taken}, 1, "",
			"task-exporter: listen: ",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			command, stdout, stderr := program(t, tc.env, tc.args...)
			err := command.Run()
			if code := command.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit status %d, error %v, want %d", code, err, tc.code)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
			if text := stdout.String() +
				stderr.String(); strings.Contains(text, "secret") || strings.Contains(text, "goroutine") {
				t.Errorf("a password or a stack is shown: %s", text)
			}
		})
	}
}

func TestSignalsEndItWithStatusZero(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		command, _, _ := program(t, []string{"CE_BROKER_URL=redis://u:secret@127.0.0.1:1/0\n"}, "--host", "127.0.0.1",
			"--port", "0", "--retry-interval", "3")
		command.Stderr = nil
		output, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 0, 4096)
		for !bytes.Contains(text, []byte("trying again")) {
			piece := make([]byte, 512)
			n, err := output.Read(piece)
			if err != nil {
				t.Fatalf("it ended by itself: %v\n%s", err, text)
			}
			text = append(text, piece[:n]...)
		}
		began := time.Now()
		if err := command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
		// It needs less than a second of a machine that has nothing else to do.
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%v: took %v", signal, took)
		}
		if bytes.Contains(text, []byte("secret")) || !bytes.Contains(text,
			[]byte("--retry-interval: the exporter always reconnects")) {
			t.Errorf("log: %s", text)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	env := map[string]string{"CE_BROKER_URL": "amqp://127.0.0.1:1//", "CE_HOST": "127.0.0.1", "CE_PORT": "0"}
	err := run(ctx, nil, func(name string) string { return env[name] }, io.Discard, io.Discard)
	if err != nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("error %v, context %v", err, ctx.Err())
	}
}

func TestRunHonoursTheMemoryLimitOfItsContainer(t *testing.T) {
	const limit = 64 << 20
	group, err := cgroup.New(limit)
	if err != nil {
		t.Skipf("not tested, that needs root and a control group: %v", err)
	}
	port := freePort(t)
	command, _, stderr := program(t, []string{"CE_BROKER_URL=redis://127.0.0.1:1"}, "--host", "127.0.0.1", "--port", port)
	command.Args = group.Command(command.Args...)
	if command.Path, err = exec.LookPath(command.Args[0]); err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	}()
	want := "go_gc_gomemlimit_bytes " + strconv.FormatFloat(math.Floor(limit*memoryRatio), 'g', -1, 64) + "\n"
	got := metrics(port)
	for end := time.Now().Add(time.Minute); got == "" && time.Now().Before(end); got = metrics(port) {
		time.Sleep(20 * time.Millisecond)
	}
	if !strings.Contains(got, want) {
		t.Errorf("no %q in %d bytes of metrics; log: %s", want, len(got), stderr)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// metrics is what the exporter serves at a port, empty as long as it serves nothing.
func metrics(port string) string {
	response, err := http.Get("http://127.0.0.1:" + port + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body) // what is missing is not found
	return string(body)
}
