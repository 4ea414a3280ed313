// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// envVictim turns this test binary into a program that starts a process under
// guard and then waits to be killed.
const envVictim = "OBSTACK_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(envVictim) != "" {
		victim()
		return
	}
	m.Run()
}

func victim() {
	guard, err := newGuard()
	if err != nil {
		panic(err)
	}
	c := &ControlPlane{guard: guard}
	p, err := c.StartProcess("sleep", exec.Command("sleep", "600"))
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(guard.dir + " " + strconv.Itoa(p.PID()) + "\n")
	select {}
}

// TestStopSaysThatAProcessEndedByItself, and is content with one that was to end.
func TestStopSaysThatAProcessEndedByItself(t *testing.T) {
	guard, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guard.release(); err != nil {
			t.Error(err)
		}
	})
	c := &ControlPlane{guard: guard}
	p, err := c.StartProcess("crash", exec.Command("sh", "-c", "echo so it ends; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") ||
		!strings.Contains(err.Error(), "so it ends") {
		t.Errorf("stop: %v, want its status and log", err)
	}
	for name, end := range map[string]func(*Process) error{"asked": (*Process).Terminate, "killed": (*Process).Kill} {
		p, err := c.StartProcess(name, exec.Command("sleep", "600"))
		if err != nil {
			t.Fatal(err)
		}
		if err := end(p); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if err := p.Stop(); err != nil {
			t.Errorf("stop one that was %s to end: %v", name, err)
		}
	}
}

func TestNothingOutlivesAKilledProgram(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envVictim+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the process does not run: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 2*time.Minute, true,
		func(context.Context) (bool, error) {
			_, statErr := os.Stat(dir)
			return ended(pid) && errors.Is(statErr, os.ErrNotExist), nil
		})
	if err != nil {
		t.Errorf("process %d or folder %s is left: %v", pid, dir, err)
	}
}

// ended reports whether a process is gone, or a zombie that only waits for its new parent to read
// its exit status.
func ended(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
}
