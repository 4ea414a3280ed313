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
	"testing"
	"time"

	"obstack.dev/obstack/test/browser"
)

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
			impostor := browser.NewImpostor(t, "chromium", tc.does)
			c, err := Start(impostor.Program)
			if err != nil {
				t.Fatal(err)
			}
			impostor.Await()
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
			impostor.WantGone()
		})
	}
}

// TestChromiumIsInterrupted while it draws.
func TestChromiumIsInterrupted(t *testing.T) {
	impostor := browser.NewImpostor(t, "chromium", "read -r _ </dev/zero")
	c, err := Start(impostor.Program)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := c.Pictures(ctx, "<p>"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	impostor.Await()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	impostor.WantGone()
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
