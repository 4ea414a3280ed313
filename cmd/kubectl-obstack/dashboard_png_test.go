// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/browser"
	"obstack.dev/obstack/internal/viewer"
	"obstack.dev/obstack/test/testenv"
)

// fakeBrowser says in a file which process it is and what its arguments are, and has pictures of
// two heights.
const fakeBrowser = `#!/usr/bin/env bash
echo $$ "$@" >"$SAID.part"
mv "$SAID.part" "$SAID"
n=0
while IFS= read -r -d '' message <&3; do
  n=$((n + 1))
  case $message in
  *createTarget*) result='{"targetId":"t"}' ;;
  *attachToTarget*) result='{"sessionId":"s"}' ;;
  *'Stack overview'*) high=8001 result='{}' ;;
  *setDocumentContent*) high=900 result='{}' ;;
  *Page.navigate*)
    printf '{"method":"Page.lifecycleEvent","params":{"loaderId":"l%d","name":"load"}}\0' $n >&4
    result='{"loaderId":"l'$n'"}'
    ;;
  *getLayoutMetrics*) result='{"cssContentSize":{"height":'$high'}}' ;;
  *captureScreenshot*) [ -z "$HANG" ] || read -r _ </dev/zero; result='{"data":"cGljdHVyZQ=="}' ;;
  *) result='{}' ;;
  esac
  printf '{"id":%d,"result":%s}\0' $n "$result" >&4
done
`

// findsBrowser has the command find the one above, and returns where that says something.
func findsBrowser(t *testing.T) (said string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "google-chrome"), []byte(fakeBrowser), 0o700); err != nil {
		t.Fatal(err)
	}
	said = filepath.Join(dir, "said")
	t.Setenv("SAID", said)
	t.Setenv("TMPDIR", t.TempDir()) // For its profile.
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return said
}

// wantBrowserGone with its profile, whose arguments had no address.
func wantBrowserGone(t *testing.T, said string) {
	t.Helper()
	content, err := os.ReadFile(said) // #nosec G304 -- a file of the test
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(content), &pid); err != nil || strings.Contains(string(content), "http") {
		t.Errorf("it says %q (%v)", content, err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the browser is left (%v)", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// filesOf a folder, with a mark on what others may read.
func filesOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			names = append(names, info.Mode().String()+" "+entry.Name())
			continue
		}
		names = append(names, entry.Name())
	}
	return names
}

func TestDashboardWritesFiles(t *testing.T) {
	b := newVerifyBench(t)
	testenv.Create(t, b.api, stackFile(t, "../verify/shop"))
	kubeconfig, said := b.kubeconfig(t, b.Kubeconfig), findsBrowser(t)
	dir := filepath.Join(t.TempDir(), "reports", "incident")
	run := func(args ...string) (string, string, int) {
		return kubectlObstack(t, kubeconfig, append([]string{"dashboard", "shop", "-n", "shop", "--png", dir}, args...)...)
	}
	out, errs, code := run()
	want := []string{
		"shop-shop-http-fastapi.png", "shop-shop-overview-2.png", "shop-shop-overview.png", "shop-shop-tasks.png",
	}
	if got := filesOf(t, dir); code != exitWell || errs != "" || !slices.Equal(got, want) {
		t.Errorf("it ends with %d, says %q and writes %v, want %v", code, errs, got, want)
	}
	for _, name := range want {
		if !strings.Contains(out, filepath.Join(dir, name)+"\n") {
			t.Errorf("it does not name %s: %q", name, out)
		}
	}
	wantBrowserGone(t, said)

	t.Run("where links are", func(t *testing.T) {
		victim := filepath.Join(t.TempDir(), "victim")
		for _, err := range []error{
			os.WriteFile(victim, []byte("mine"), 0o600), os.Remove(filepath.Join(dir, want[0])),
			os.Symlink(victim, filepath.Join(dir, want[0])),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, errs, code := run(); code != exitWell || !slices.Equal(filesOf(t, dir), want) {
			t.Errorf("it ends with %d, says %q and leaves %v", code, errs, filesOf(t, dir))
		}
		if content, err := os.ReadFile(victim); string(content) != "mine" { // #nosec G304 -- a file of the test
			t.Errorf("behind the link is %q (%v)", content, err)
		}
	})
	t.Run("interrupted", func(t *testing.T) { testInterruptedPicture(t, kubeconfig, dir, said, want) })
	t.Run("where a folder has the name", func(t *testing.T) {
		taken := filepath.Join(dir, want[2])
		if err := errors.Join(os.Remove(taken), os.Mkdir(taken, 0o700)); err != nil {
			t.Fatal(err)
		}
		_, errs, code := run()
		if got := filesOf(t, dir); code != exitWrong || !strings.Contains(errs, want[2]) || len(got) != len(want) {
			t.Errorf("it ends with %d, says %q and leaves %v", code, errs, got)
		}
	})
	dir = filepath.Join(dir, want[0])
	if _, errs, code := run(); code != exitWrong || !strings.Contains(errs, "make the folder of --png") {
		t.Errorf("below a file it ends with %d and says %q", code, errs)
	}
	t.Setenv("PATH", t.TempDir())
	if _, errs, code := run(); code != exitWrong || !strings.Contains(errs, "--png: there is no Chrome") {
		t.Errorf("without a browser it ends with %d and says %q", code, errs)
	}
}

// testInterruptedPicture: Ctrl-C ends a browser that hangs, and leaves the files as they were.
func testInterruptedPicture(t *testing.T, kubeconfig, dir, said string, want []string) {
	t.Setenv("HANG", "1")
	t.Setenv("KUBECONFIG", kubeconfig)
	if err := os.Remove(said); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"dashboard", "shop", "-n", "shop", "--png", dir},
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: &bytes.Buffer{}, ErrOut: &errs})
	}()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(said); err == nil {
			break
		}
	}
	interrupt()
	if got := <-code; got != exitWrong || errs.String() != "error: interrupted\n" || !slices.Equal(filesOf(t, dir), want) {
		t.Errorf("it ends with %d, says %q and leaves %v", got, errs.String(), filesOf(t, dir))
	}
	wantBrowserGone(t, said)
}

// TestDashboardDrawsPictures by the browser that make test-dashboards installs: a dashboard of the
// most panels, of which the last is to be seen at the end.
func TestDashboardDrawsPictures(t *testing.T) {
	program, err := browser.Find()
	if os.Getenv("OBSTACK_INTEGRATION") == "" || err != nil {
		t.Skip("SKIPPED, NOT TESTED: no Chromium; run make test-dashboards")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"success","data":{"result":[{"metric":{},"value":[1,"1"],"values":[[1,"1"]]}]}}`)
	}))
	defer server.Close()
	panel := func(i int) string {
		return fmt.Sprintf(`{"title":"P","type":"stat","gridPos":{"y":%d,"w":24,"h":4},
			"targets":[{"expr":"x","instant":true}],"options":{"colorMode":"background"},
			"fieldConfig":{"defaults":{"color":{"mode":"fixed","fixedColor":"red"}}}}`, i*4)
	}
	var panels []string
	for i := range 200 {
		panels = append(panels, panel(i))
	}
	parsed, err := viewer.Parse([]byte(`{"uid":"u","title":"../../T","panels":[` + strings.Join(panels, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := viewer.New([]*viewer.Dashboard{parsed}, promclient.Client{URL: address, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	o := dashboardOptions{png: t.TempDir(), browser: program, streams: genericiooptions.NewTestIOStreamsDiscard()}
	if err := o.draw(t.Context(), shown, []dashboard{{parsed, "many"}}); err != nil {
		t.Fatal(err)
	}
	names, rows := filesOf(t, o.png), 0
	for _, name := range names {
		rows += redRows(t, filepath.Join(o.png, name))
	}
	// A panel is 4*30+3*8 pixels high, of which at least 100 are below its title.
	want := []string{"many-2.png", "many-3.png", "many-4.png", "many.png"}
	if !slices.Equal(names, want) || rows < 200*100*2 {
		t.Errorf("%v, want %v; %d rows of pixels are red", names, want, rows)
	}
}

// redRows of pixels in the middle of a picture.
func redRows(t *testing.T, path string) (rows int) {
	t.Helper()
	file, err := os.Open(path) // #nosec G304 -- a file of the test
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	for y := range picture.Bounds().Dy() {
		got := color.RGBAModel.Convert(picture.At(picture.Bounds().Dx()/4, y)).(color.RGBA)
		if got.R > got.G+30 && got.R > got.B+30 {
			rows++
		}
	}
	return rows
}
