// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// newTerminal returns both ends of one: what the user types into, and what a command reads from.
func newTerminal(t *testing.T) (keyboard, in *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	in, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return keyboard, in
}

// TestInitAsksAtATerminal needs no cluster.
func TestInitAsksAtATerminal(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	keyboard, in := newTerminal(t)
	if _, err := io.WriteString(keyboard, "shop\n\n-\nshop-redis/url\n\n"); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	streams := genericiooptions.IOStreams{In: in, Out: &out, ErrOut: &errs}
	code := run(t.Context(), []string{"init"}, streams)
	if code != exitWell || !strings.Contains(out.String(), "name: shop-redis") ||
		!strings.Contains(errs.String(), "called? [default]: ") {
		t.Errorf("it ends with %d, and writes\n%s\nafter\n%s", code, out.String(), errs.String())
	}
	// Nobody types anything any more.
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if code := run(ctx, []string{"init", "shop"}, streams); code != exitWrong {
		t.Errorf("after Ctrl-C it ends with %d", code)
	}
}
