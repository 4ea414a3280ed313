// SPDX-License-Identifier: Apache-2.0

// Package browser asks the desktop to show a page that is served on this machine, and draws pages
// into pictures.
package browser

import (
	"os/exec"
	"runtime"
)

// Open an address of our own where there is a browser; whoever calls prints it in any case. The
// browser outlives the caller, and gets none of the signals of its terminal: Ctrl-C would close all
// pages of a browser that was started for this one.
func Open(address string) {
	command := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open"}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	// #nosec G204 -- one of the commands above, with our own address
	opening := exec.Command(command[0], append(command[1:], address)...)
	opening.SysProcAttr = ofItsOwn
	if opening.Start() == nil {
		go func() { _ = opening.Wait() }()
	}
}
