// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// stopTimeout is how long a process may take to end before it is killed.
const stopTimeout = 10 * time.Second

// Process is a program that runs beside the control plane and ends with it.
type Process struct {
	// Name of the process, unique among the running ones.
	Name string
	// Log is the file that holds its output.
	Log string

	guard *guard
	// asked is whether it is to end.
	asked atomic.Bool
	cmd   *exec.Cmd
	done  chan struct{}
	err   error // how it ended; to be read when done is closed
}

// StartProcess starts cmd with its output in a log file. It is stopped with the
// control plane, or killed if this program ends without stopping that. Starting
// another process of that name appends to the same log.
func (c *ControlPlane) StartProcess(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, Log: c.guard.path("logs", name+".log"), guard: c.guard, cmd: cmd, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	// A file is inherited, so that nothing has to copy and the program's copy outlives ours.
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	// In a group of its own, so that Ctrl-C reaches this program alone, which stops all in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.guard.watch(name, cmd.Process.Pid); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), cmd.Process.Kill(), cmd.Wait())
	}
	go func() {
		err := cmd.Wait()
		p.err = errors.Join(err, p.guard.forget(name))
		close(p.done)
	}()
	c.processes = append(c.processes, p)
	return p, nil
}

// PID is the process id, while the process runs.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end, and kills it if it does not. It fails if the process has ended by
// itself before.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		if !p.asked.Load() {
			return fmt.Errorf("%s had ended by itself (%s); the end of its log:\n%s", p.Name, p.cmd.ProcessState, p.Tail())
		}
	default:
	}
	return p.end()
}

// end is Stop for one that may have ended.
func (p *Process) end() error {
	if err := p.Terminate(); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("stop %s: still running after %s; killed", p.Name, stopTimeout), p.Kill())
	}
}

// Terminate asks the process to end.
func (p *Process) Terminate() error {
	p.asked.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the process at once.
func (p *Process) Kill() error {
	p.asked.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	<-p.done
	return nil
}

// Tail is the end of the log.
func (p *Process) Tail() string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(content))
}

// WaitFor polls until ready is true. It gives up when the process has ended, with
// the end of its log.
func (p *Process) WaitFor(ctx context.Context, ready wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("%s ended (%w); the end of its log:\n%s", p.Name, p.err, p.Tail())
		default:
			return ready(ctx)
		}
	})
}
