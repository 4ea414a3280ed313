// SPDX-License-Identifier: Apache-2.0

// Package cgroup runs programs in control groups of their own, as containers do, to limit and to
// measure their memory. That needs root, and a memory controller of version 1 or 2.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Group is a control group.
type Group struct {
	dir string
	files
}

// files are the names of what a group is read and set by.
type files struct{ usage, limit, inactive string }

var (
	version1 = files{"memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"}
	version2 = files{"memory.current", "memory.max", "inactive_file"}
)

// New makes a group, with a limit in bytes if it is not 0.
func New(limit int64) (*Group, error) {
	root, names := "/sys/fs/cgroup/memory", version1
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		root, names = "/sys/fs/cgroup", version2
	}
	dir, err := os.MkdirTemp(root, "obstack-")
	if err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	g := &Group{dir, names}
	if limit != 0 {
		err = os.WriteFile(filepath.Join(dir, names.limit), strconv.AppendInt(nil, limit, 10), 0)
	} else {
		_, err = g.WorkingSet()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the control group has no memory controller: %w", err), g.Remove())
	}
	return g, nil
}

// Command returns the arguments that run a program in the group.
func (g *Group) Command(args ...string) []string {
	return append([]string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}, args...)
}

// WorkingSet is the bytes that the group uses and that the kernel cannot simply take back, as
// kubelet computes them for `kubectl top` and for evictions.
func (g *Group) WorkingSet() (int64, error) {
	usage, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut("\n"+string(stat), "\n"+g.inactive+" ")
	inactive, _, _ := strings.Cut(rest, "\n")
	used, err := strconv.ParseInt(strings.TrimSpace(string(usage)), 10, 64)
	idle, err2 := strconv.ParseInt(inactive, 10, 64)
	return max(0, used-idle), errors.Join(err, err2)
}

// Remove removes the group, whose programs have ended.
func (g *Group) Remove() error { return os.Remove(g.dir) }
