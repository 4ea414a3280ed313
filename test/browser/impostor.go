// SPDX-License-Identifier: Apache-2.0

//go:build unix

package browser

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Impostor is a program that is started as a browser, and does something else.
type Impostor struct {
	// Program is where it is.
	Program string

	t    *testing.T
	said string
}

// NewImpostor writes a program of that name in bash. It says which process it is and what its
// arguments are, and then does what a test wants. A profile for it comes into a folder of the test.
func NewImpostor(t *testing.T, name, does string) *Impostor {
	t.Helper()
	dir := t.TempDir()
	i := &Impostor{Program: filepath.Join(dir, name), t: t, said: filepath.Join(dir, "said")}
	says := fmt.Sprintf("echo $$ \"$@\" >'%[1]s.part'\nmv '%[1]s.part' '%[1]s'\n", i.said)
	if err := os.WriteFile(i.Program, []byte("#!/usr/bin/env bash\n"+says+does+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	return i
}

// Await waits until it runs.
func (i *Impostor) Await() {
	i.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(i.said); err == nil {
			return
		}
	}
	i.t.Error("it does not run")
}

// WantGone checks that no process and no profile of it is left, that its arguments had no address,
// and forgets that it ran.
func (i *Impostor) WantGone() {
	i.t.Helper()
	content, err := os.ReadFile(i.said)
	if err != nil {
		i.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(content), &pid); err != nil || strings.Contains(string(content), "http") {
		i.t.Errorf("it says %q (%v)", content, err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		i.t.Errorf("process %d is left (%v)", pid, err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		i.t.Errorf("%v is left (%v)", left, err)
	}
	if err := os.Remove(i.said); err != nil {
		i.t.Error(err)
	}
}
