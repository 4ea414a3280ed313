// SPDX-License-Identifier: Apache-2.0

// Command release builds the kubectl plugin for every platform that krew knows people to have, and
// writes archives, their checksums and the manifest for krew. Equal commits give equal bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	version := flag.String("version", "", "the release, as vX.Y.Z")
	dir := flag.String("out", "dist", "the folder to write to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *version, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// plugin is the folder of the plugin's module.
var plugin = filepath.Join("cmd", "kubectl-obstack")

// released is what krew takes for a version, and GitHub for a tag of it.
var released = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func run(ctx context.Context, version, dir string) error {
	if !released.MatchString(version) {
		return fmt.Errorf("-version=%s: must be vX.Y.Z", version)
	}
	committed, err := commitTime(ctx)
	if err != nil {
		return err
	}
	r := release{version: version, time: committed, build: func(p platform, binary string) error {
		return build(ctx, p, version, binary)
	}}
	return r.write(dir)
}

// commitTime is the time that all files in the archives have.
func commitTime(ctx context.Context) (time.Time, error) {
	output, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time of the commit: %w", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(output)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time of the commit: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// build the plugin as make does, but for what differs between checkouts of one commit.
func build(ctx context.Context, p platform, version, binary string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "-C", plugin, "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X main.version="+version, "-o", binary, ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch)
	command.Stderr = os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("build for %s/%s: %w", p.OS, p.Arch, err)
	}
	return nil
}
