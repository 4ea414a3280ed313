// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// guardScript waits until the pipe to it is closed, which the kernel does however
// the process that holds the other end finishes: it works where a deferred call does
// not, after SIGKILL or a panic. (A parent-death signal would do for Linux alone, and
// Go sends it when the thread ends that started the child, which may be too early.)
const guardScript = `trap '' INT TERM HUP
read -r _
for file in "$1"/pids/*; do
  [ -f "$file" ] && kill -KILL "$(cat "$file")" 2>/dev/null
done
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
`

// guard ends what this process leaves running, and removes its folder.
type guard struct {
	dir  string
	cmd  *exec.Cmd
	pipe io.Closer
}

// newGuard makes a folder and guards it. Programs that write their process ids
// to pids/ in it are killed when this process ends.
func newGuard() (*guard, error) {
	dir, err := os.MkdirTemp("", "obstack-controlplane-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the control plane: %w", err)
	}
	for _, name := range []string{"pids", "bin", "logs", "etcd", "apiserver"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("make a folder for the control plane: %w", err), os.RemoveAll(dir))
		}
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, "obstack-guard", dir)
	// In a group of its own, so that Ctrl-C does not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Dir = "/"
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the guard of the control plane: %w", err), os.RemoveAll(dir))
	}
	return &guard{dir: dir, cmd: cmd, pipe: pipe}, nil
}

// path is a path in the guarded folder.
func (g *guard) path(elements ...string) string {
	return filepath.Join(append([]string{g.dir}, elements...)...)
}

// release lets the guard do its work now, and waits for it.
func (g *guard) release() error {
	return errors.Join(g.pipe.Close(), g.cmd.Wait())
}

// wrap is a program that does what the one in assets does, and is killed by the
// guard. envtest starts it, which neither names the process id nor lets one be set.
func (g *guard) wrap(assets string, program Program) (string, error) {
	wrapper := g.path("bin", string(program))
	script := fmt.Sprintf("#!/bin/sh\necho $$ >'%s'\nexec '%s' \"$@\"\n",
		g.path("pids", string(program)), filepath.Join(assets, string(program)))
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("wrap %s: %w", program, err)
	}
	return wrapper, nil
}

// watch has the guard kill the process of that name and id.
func (g *guard) watch(name string, pid int) error {
	return os.WriteFile(g.path("pids", name), []byte(strconv.Itoa(pid)), 0o600)
}

// forget undoes watch, before the process id can belong to another process.
func (g *guard) forget(name string) error {
	if err := os.Remove(g.path("pids", name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pid is the id of the process of that name, 0 if it does not run.
func (g *guard) pid(name string) (int, error) {
	content, err := os.ReadFile(g.path("pids", name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}
