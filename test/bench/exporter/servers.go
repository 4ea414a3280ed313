// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a process that is measured.
type program struct {
	command *exec.Cmd
	port    int
}

func freePort() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// check ends the benchmark: nothing that goes wrong in one can be mended.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func launch(env []string, args ...string) *exec.Cmd {
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), env...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	check(command.Start())
	return command
}

func stop(command *exec.Cmd) {
	_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	_ = command.Wait() // killed
}

func waitFor(what string, limit time.Duration, condition func() bool) {
	for end := time.Now().Add(limit); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			panic(what + ": not in time")
		}
	}
}

func listening(port int) bool {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		connection.Close()
	}
	return err == nil
}

// startRedis starts a server without persistence; unlimited lifts the limit of a subscriber's backlog.
func startRedis(unlimited bool) program {
	port := freePort()
	args := []string{"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	if unlimited {
		args = append(args, "--client-output-buffer-limit", "pubsub 0 0 0")
	}
	p := program{launch(nil, args...), port}
	waitFor("redis", 20*time.Second, func() bool { return listening(port) })
	return p
}

// startRabbit starts a server of its own in a folder.
func startRabbit(dir string) (server program, epmd *exec.Cmd) {
	port, epmdPort := freePort(), freePort()
	epmd = launch([]string{"HOME=" + dir}, "epmd", "-port", strconv.Itoa(epmdPort), "-address", "127.0.0.1")
	conf := filepath.Join(dir, "rabbitmq.conf")
	check(os.WriteFile(conf, fmt.Appendf(nil, "listeners.tcp.default = 127.0.0.1:%d\n", port), 0o600))
	check(os.WriteFile(filepath.Join(dir, "plugins"), []byte("[]."), 0o600))
	server = program{launch([]string{
		fmt.Sprintf("RABBITMQ_NODENAME=bench%d@localhost", port), "RABBITMQ_DIST_PORT=" + strconv.Itoa(freePort()), "HOME=" + dir,
		"ERL_EPMD_PORT=" + strconv.Itoa(epmdPort), "ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_CONFIG_FILE=" + conf,
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), "RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"), "RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
	}, "/usr/lib/rabbitmq/bin/rabbitmq-server"), port}
	waitFor("rabbitmq", 120*time.Second, func() bool { return listening(port) })
	return server, epmd
}

// startExporter starts the exporter on a broker and waits until it is subscribed.
func startExporter(path, broker string, args ...string) program {
	port := freePort()
	args = append([]string{path, "--broker-url", broker, "--host", "127.0.0.1", "--port", strconv.Itoa(port)}, args...)
	p := program{launch(nil, args...), port}
	waitFor("exporter", 60*time.Second, func() bool {
		response, err := http.Get(p.url("/ready"))
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

func (p program) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", p.port, path) }

// cpu returns the seconds of CPU time used so far (proc(5): utime and stime, in hundredths).
func (p program) cpu() float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	check(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	check(err)
	system, err := strconv.Atoi(fields[12])
	check(err)
	return float64(user+system) / 100
}

// memory returns a line of /proc/PID/status, such as VmRSS, in MiB.
func (p program) memory(line string) float64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	check(err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), line+":"); found {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err)
			return float64(kib) / 1024
		}
	}
	panic("no " + line)
}

// sum returns the sum of the samples whose line begins with a prefix.
func (p program) sum(prefix string) float64 {
	response, err := http.Get(p.url("/metrics"))
	check(err)
	defer response.Body.Close()
	total := 0.0
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			n, err := strconv.ParseFloat(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], 64)
			check(err)
			total += n
		}
	}
	check(lines.Err())
	return total
}
