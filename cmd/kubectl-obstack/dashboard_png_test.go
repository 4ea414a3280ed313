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
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/browser"
	"obstack.dev/obstack/internal/viewer"
	testbrowser "obstack.dev/obstack/test/browser"
	"obstack.dev/obstack/test/testenv"
)

// twoHeights is what a browser does that has pictures of these.
const twoHeights = `n=0
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
done`

// findsBrowser has the command find the one above.
func findsBrowser(t *testing.T) *testbrowser.Impostor {
	t.Helper()
	impostor := testbrowser.NewImpostor(t, "google-chrome", twoHeights)
	t.Setenv("PATH", filepath.Dir(impostor.Program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	return impostor
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

// drawing is the command with --png into a folder.
type drawing struct {
	kubeconfig, dir string
	// want is what it writes.
	want    []string
	browser *testbrowser.Impostor
}

func (d *drawing) run(t *testing.T) (stdout, stderr string, code int) {
	t.Helper()
	return kubectlObstack(t, d.kubeconfig, "dashboard", "shop", "-n", "shop", "--png", d.dir)
}

// refuses to draw, and says why.
func (d *drawing) refuses(t *testing.T, says string) {
	t.Helper()
	if _, errs, code := d.run(t); code != exitWrong || !strings.Contains(errs, says) {
		t.Errorf("it ends with %d and says %q, want %q", code, errs, says)
	}
}

func TestDashboardWritesFiles(t *testing.T) {
	b := newVerifyBench(t)
	testenv.Create(t, b.api, stackFile(t, "../verify/shop"))
	d := &drawing{
		kubeconfig: b.kubeconfig(t, b.Kubeconfig), dir: filepath.Join(t.TempDir(), "reports", "incident"), want: []string{
			"shop-shop-http-fastapi.png", "shop-shop-overview-2.png", "shop-shop-overview.png", "shop-shop-tasks.png",
		}, browser: findsBrowser(t),
	}
	out, errs, code := d.run(t)
	if got := filesOf(t, d.dir); code != exitWell || errs != "" || !slices.Equal(got, d.want) {
		t.Errorf("it ends with %d, says %q and writes %v, want %v", code, errs, got, d.want)
	}
	for _, name := range d.want {
		if !strings.Contains(out, filepath.Join(d.dir, name)+"\n") {
			t.Errorf("it does not name %s: %q", name, out)
		}
	}
	d.browser.WantGone()
	t.Run("where links are", d.testLinks)
	t.Run("interrupted", d.testInterrupted)
	t.Run("where a folder has the name", d.testTaken)
	d.dir = filepath.Join(d.dir, d.want[0])
	d.refuses(t, "make the folder of --png")
	t.Setenv("PATH", t.TempDir())
	d.refuses(t, "--png: there is no Chrome, Chromium or Edge")
}

// testLinks are replaced, and what they lead to stays. What is left of a higher page goes.
func (d *drawing) testLinks(t *testing.T) {
	victim, name := filepath.Join(filepath.Dir(d.dir), "victim"), filepath.Join(d.dir, d.want[0])
	for _, err := range []error{
		os.WriteFile(victim, []byte("mine"), 0o600), os.Remove(name), os.Symlink(victim, name),
		os.WriteFile(filepath.Join(d.dir, "shop-shop-overview-3.png"), nil, 0o600),
		os.WriteFile(filepath.Join(d.dir, "shop-shop-tasks-2.png"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, errs, code := d.run(t); code != exitWell || !slices.Equal(filesOf(t, d.dir), d.want) {
		t.Errorf("it ends with %d, says %q and leaves %v", code, errs, filesOf(t, d.dir))
	}
	if content, err := os.ReadFile(victim); string(content) != "mine" { // #nosec G304 -- a file of the test
		t.Errorf("behind the link is %q (%v)", content, err)
	}
	d.browser.WantGone()
}

// testTaken names are said, and nothing else is left.
func (d *drawing) testTaken(t *testing.T) {
	taken := filepath.Join(d.dir, d.want[2])
	if err := errors.Join(os.Remove(taken), os.Mkdir(taken, 0o700)); err != nil {
		t.Fatal(err)
	}
	d.refuses(t, d.want[2])
	if got := filesOf(t, d.dir); len(got) != len(d.want) {
		t.Errorf("it leaves %v", got)
	}
}

// testInterrupted: Ctrl-C ends a browser that hangs, and leaves the files as they were.
func (d *drawing) testInterrupted(t *testing.T) {
	t.Setenv("HANG", "1")
	t.Setenv("KUBECONFIG", d.kubeconfig)
	ctx, interrupt := context.WithCancel(t.Context())
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"dashboard", "shop", "-n", "shop", "--png", d.dir},
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: &bytes.Buffer{}, ErrOut: &errs})
	}()
	d.browser.Await()
	interrupt()
	if got := <-code; got != exitWrong || errs.String() != "error: interrupted\n" {
		t.Errorf("it ends with %d and says %q", got, errs.String())
	}
	if got := filesOf(t, d.dir); !slices.Equal(got, d.want) {
		t.Errorf("it leaves %v", got)
	}
	d.browser.WantGone()
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
