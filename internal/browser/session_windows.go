// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"os"
	"syscall"
)

// ofItsOwn is the group of a process, which gets no Ctrl-C.
var ofItsOwn = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}

// kill a process.
func kill(process *os.Process) error { return process.Kill() }
