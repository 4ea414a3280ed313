// SPDX-License-Identifier: Apache-2.0

//go:build unix

package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// script is a program that says in $SAID which process it is and what its arguments are, and then
// does something else than a browser would.
func script(t *testing.T, does string) (program, said string) {
	t.Helper()
	dir := t.TempDir()
	program, said = filepath.Join(dir, "chromium"), filepath.Join(dir, "said")
	text := fmt.Sprintf("#!/bin/sh\necho $$ \"$@\" >'%[1]s.part'\nmv '%[1]s.part' '%[1]s'\n%[2]s\n", said, does)
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir()) // For the profile.
	return program, said
}

// wantGone after Close: no process, and no profile.
func wantGone(t *testing.T, said string) {
	t.Helper()
	content, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(content), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is left (%v)", pid, err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// repliesAlways is what a script does that has the same result for each command.
const repliesAlways = `printf '{"method":"Page.lifecycleEvent","params":{"name":"load"}}\0' >&4
for id in 1 2 3 4 5 6 7 8 9 10 11; do printf '{"id":'$id',"result":{%s}}\0' >&4; done
read -r _ </dev/zero`

// TestChromiumIsNone: whatever the program does instead, there is an error that says so, and
// nothing of it is left.
func TestChromiumIsNone(t *testing.T) {
	const silent = "does not respond in time"
	for name, tc := range map[string]struct{ does, says string }{
		"hangs":               {"read -r _ </dev/zero", silent},
		"ignores being asked": {"trap '' TERM INT HUP; read -r _ </dev/zero", silent},
		"leaves a child":      {"sleep 600 & exit 0", silent},
		"ends":                {"exit 1", "draws nothing"},
		"says why it ends":    {"echo 'No usable sandbox' >&2; exit 1", "it says No usable sandbox"},
		"says so late":        {"exec 3<&- 4>&-; sleep 0.2; echo 'No sandbox' >&2; exit 1", "it says No sandbox"},
		"is fatal":            {"echo '[1:FATAL:a] No sandbox' >&2; echo '#0 0x1' >&2; exit 1", "FATAL:a] No sandbox"},
		"says no JSON":        {`printf 'hello\0' >&4; read -r _ </dev/zero`, "invalid character"},
		"says other things":   {`while :; do printf '{"method":"Target.created"}\0' >&4 || exit; done`, silent},
		"says too much":       {"exec yes >&4", "a message of the browser has more than"},
		"refuses": {`printf '{"id":1,"error":{"message":"not allowed"}}\0' >&4; read -r _ </dev/zero`,
			"Target.createTarget: not allowed"},
		"has no page":    {fmt.Sprintf(repliesAlways, ""), "the page has no height"},
		"has no picture": {fmt.Sprintf(repliesAlways, `"cssContentSize":{"height":9}`), "there is no picture"},
	} {
		t.Run(name, func(t *testing.T) {
			program, said := script(t, tc.does)
			c, err := Start(program)
			if err != nil {
				t.Fatal(err)
			}
			for started := time.Now(); time.Since(started) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(said); err == nil {
					break
				}
			}
			timeout := 20 * time.Second
			if tc.says == silent {
				timeout = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			if _, err := c.Pictures(ctx, "<p>"); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %s", err, tc.says)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			wantGone(t, said)
		})
	}
}

// TestChromiumIsInterrupted while it draws.
func TestChromiumIsInterrupted(t *testing.T) {
	program, said := script(t, "read -r _ </dev/zero")
	c, err := Start(program)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := c.Pictures(ctx, "<p>"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for started := time.Now(); time.Since(started) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(said); err == nil {
			break
		}
	}
	content, _ := os.ReadFile(said)
	if strings.Contains(string(content), "http") {
		t.Errorf("its arguments are %s", content)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantGone(t, said)
}

// TestStartRefuses what is no program.
func TestStartRefuses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := Start(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none: ") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	t.Setenv("PATH", t.TempDir())
	if path, err := Find(); err == nil && !strings.HasPrefix(path, "/Applications/") {
		t.Errorf("found %s in no folder", path)
	}
}

// chromium as make test-dashboards installs it.
func chromium(t *testing.T) *Chromium {
	t.Helper()
	path, err := Find()
	if os.Getenv("OBSTACK_INTEGRATION") == "" || err != nil {
		t.Skip("SKIPPED, NOT TESTED: no Chromium; run make test-dashboards")
	}
	t.Setenv("TMPDIR", t.TempDir())
	c, err := Start(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBrowserDraws a document to its end, in several pictures if it is high, and nothing else.
func TestBrowserDraws(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	c := chromium(t)
	const high = 2*maxHeight + 500
	for range 2 { // One after another.
		pictures, err := c.Pictures(t.Context(), fmt.Sprintf(`<!DOCTYPE html><style>body{margin:0;background:#0000ff}</style>
			<div style="height:%dpx"></div><div id="end" style="height:20px;background:#00ff00"></div>
			<script>document.getElementById("end").style.background = "#ff0000"</script>
			<img hidden src="%s"><link rel="stylesheet" href="http://obstack.example.com/">`, high-20, server.URL))
		if err != nil {
			t.Fatal(err)
		}
		if len(pictures) != 3 {
			t.Fatalf("%d pictures of a page of %d pixels, want 3", len(pictures), high)
		}
		wantPicture(t, pictures[0], maxHeight, color.RGBA{B: 255, A: 255})
		wantPicture(t, pictures[1], maxHeight, color.RGBA{B: 255, A: 255})
		wantPicture(t, pictures[2], 500, color.RGBA{G: 255, A: 255})
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the page asked another server %d times", n)
	}
}

// wantPicture of a height that ends with a colour.
func wantPicture(t *testing.T, content []byte, height int, colour color.RGBA) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	size := picture.Bounds().Size()
	got := color.RGBAModel.Convert(picture.At(size.X/2, size.Y-5))
	if size.X != density*width || size.Y != density*height || got != colour {
		t.Errorf("a picture has size %v and ends with %v, want %d in height and %v", size, got, density*height, colour)
	}
}

// TestBrowserDrawsTheFirst document as it draws the second, which no page of its own comes between.
func TestBrowserDrawsTheFirst(t *testing.T) {
	document := `<body style="background:#0000ff">` + strings.Repeat("<p>word", 50)
	for range 5 {
		c := chromium(t)
		var both [2][][]byte
		for i := range both {
			var err error
			if both[i], err = c.Pictures(t.Context(), document); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(both[0][0], both[1][0]) {
			t.Errorf("the first picture has %d bytes, and the second %d", len(both[0][0]), len(both[1][0]))
		}
	}
}
