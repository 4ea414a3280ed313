// SPDX-License-Identifier: Apache-2.0

//go:build unix

package browser

import (
	"os"
	"syscall"
)

// ofItsOwn is the session of a process, which has no terminal.
var ofItsOwn = &syscall.SysProcAttr{Setsid: true}

// kill a process that has a session of its own, with those that it started.
func kill(process *os.Process) error { return syscall.Kill(-process.Pid, syscall.SIGKILL) }
