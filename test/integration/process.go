// SPDX-License-Identifier: Apache-2.0

// Package integration starts the real programs that the task exporter is tested on and measured
// with: Redis, RabbitMQ and whatever is given. Everything listens on free loopback ports, and ends
// with the process that started it.
package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a running program in a process group of its own.
type Process struct {
	// PID is the program's, and its group's.
	PID int
	// Ended is closed when the program has ended.
	Ended   chan struct{}
	command *exec.Cmd
	reaper  *exec.Cmd
	alive   io.Closer // open as long as we live, for the reaper
	close   sync.Once
}

// Start starts a program with more variables and an output, nil for none, in whose folder it runs.
func Start(output *os.File, env []string, args ...string) (*Process, error) {
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), env...)
	if output != nil {
		command.Stdout, command.Stderr = output, output
		command.Dir = filepath.Dir(output.Name())
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &Process{PID: command.Process.Pid, Ended: make(chan struct{}), command: command}
	go func() {
		_ = command.Wait() // how it ended is for the caller to judge
		close(p.Ended)
	}()
	if err := p.reap(); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// reap starts a shell that kills the group when we are gone, however we went: it waits for the end
// of a pipe that only we hold open. A death signal would reach the first process only, and not the
// Erlang machine that a script started.
func (p *Process) reap() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	p.alive = write
	p.reaper = exec.Command("sh", "-c", `read -r _; kill -9 "-$0"`, strconv.Itoa(p.PID))
	p.reaper.Stdin = read
	p.reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return p.reaper.Start()
}

// Signal sends a signal to the program and its children.
func (p *Process) Signal(s syscall.Signal) {
	_ = syscall.Kill(-p.PID, s) // it may have ended
}

// Stop sends a signal and waits for the end.
func (p *Process) Stop(s syscall.Signal, limit time.Duration) error {
	p.Signal(s)
	select {
	case <-p.Ended:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d does not end within %v of signal %v", p.PID, limit, s)
	}
}

// ExitCode returns how the program ended, after it did.
func (p *Process) ExitCode() int { return p.command.ProcessState.ExitCode() }

// Kill ends the program, its children and its reaper. It may be called again.
func (p *Process) Kill() {
	p.close.Do(func() {
		p.Signal(syscall.SIGKILL)
		<-p.Ended
		if p.reaper != nil && p.reaper.Process != nil {
			_ = p.reaper.Process.Kill()
			_ = p.reaper.Wait() // killed
		}
		if p.alive != nil {
			p.alive.Close()
		}
	})
}

// Listens reports whether somebody accepts connections at a port of this machine.
func Listens(port int) bool {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

// errLate: something did not come in time.
var errLate = errors.New("not in time")

// WaitFor polls until a condition holds.
func WaitFor(what string, limit time.Duration, condition func() bool) error {
	for end := time.Now().Add(limit); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: %w, %v", what, errLate, limit)
		}
	}
	return nil
}

// waitForPort waits until a program listens, or kills it.
func (p *Process) waitForPort(what string, port int, limit time.Duration) (*Process, error) {
	if err := WaitFor(what, limit, func() bool { return Listens(port) || p.over() }); err != nil || p.over() {
		p.Kill()
		return nil, errors.Join(err, fmt.Errorf("%s does not listen on port %d", what, port))
	}
	return p, nil
}

func (p *Process) over() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}
