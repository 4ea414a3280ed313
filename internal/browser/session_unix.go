// SPDX-License-Identifier: Apache-2.0

//go:build unix

package browser

import "syscall"

// ofItsOwn is the session of a process, which has no terminal.
var ofItsOwn = &syscall.SysProcAttr{Setsid: true}
