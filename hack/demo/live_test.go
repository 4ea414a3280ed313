// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"html"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"obstack.dev/obstack/test/browser"
)

var update = flag.Bool("update", false, "keep the pictures of the documentation, which takes five minutes more")

// pictures of the page's dashboards, in its order.
var pictures = []string{"overview.png", "http-fastapi.png", "tasks.png"}

// Pictures are that many pixels wide, of which some are one of the page: their letters can be read
// at the width of a README.
const (
	pictureWidth = 1680
	pictureScale = 1.3125
)

// pictured is how long the demo runs before pictures are kept: they show five minutes, and the
// rules of SLOs have values after the first.
const pictured = 6 * time.Minute

// TestDemoLive takes two minutes, so make test-dashboards runs it and make test does not.
func TestDemoLive(t *testing.T) {
	needParts(t)
	chromium := browser.Start(t) // Before TMPDIR is set: it leaves something there.
	d := startDemo(t, options{live: true})
	d.out.await(t, d.ended, `Instead of FastAPI: \d servers in Go`)
	d.out.await(t, d.ended, `Instead of Celery and Redis: \d workers and a broker in Go`)
	address := d.awaitPage(t)
	served := time.Now()
	d.awaitBurning(t, address)
	pages := d.pages(t, address)
	folder := t.TempDir()
	if *update {
		folder = "../../docs/images"
		eventually(t, "all that the pictures show happened", func() bool { return time.Since(served) > pictured })
	}
	chromium.Resize(pictureWidth/pictureScale, 1000, pictureScale, false)
	panels, drawn := map[string]int{}, make([]image.Image, len(pages))
	for i, page := range pages {
		panels[page] = wantDrawn(t, fetch(t, page))
		chromium.Open(strings.Replace(page, "now-15m", "now-5m", 1))
		chromium.Theme("light")
		chromium.Value("document.querySelector('footer').remove()")
		drawn[i] = chromium.Picture("html")
	}
	// The rest is work, which a picture would show: the shop is in this process.
	for i, name := range pictures {
		content := browser.Encode(t, drawn[i])
		wantPicture(t, name, content)
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Error(err)
		}
	}
	for page, number := range panels {
		chromium.WantWhole(page, number)
	}
	origin, _, _ := strings.Cut(address, "/d/")
	chromium.WantQuiet(origin)
	d.end(t, address)
}

// needParts skips a test of what make test does not have.
func needParts(t *testing.T) {
	t.Helper()
	if os.Getenv("OBSTACK_INTEGRATION") == "" {
		t.Skip("OBSTACK_INTEGRATION names no folder: make test-dashboards sets it")
	}
}

// running is a demo that runs.
type running struct {
	temporary string
	out       *output
	ended     chan error
	interrupt context.CancelFunc
}

// startDemo starts one that takes minutes.
func startDemo(t *testing.T, o options) *running {
	t.Helper()
	d := &running{temporary: t.TempDir(), out: &output{}, ended: make(chan error, 1)}
	t.Setenv("TMPDIR", d.temporary)
	ctx, interrupt := context.WithCancel(t.Context())
	d.interrupt = interrupt
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		d.ended <- run(ctx, d.out, o)
	}()
	// Also of a test that fails nothing may be left. Its guard finds the processes by files below
	// the temporary folder, which is removed after this.
	t.Cleanup(func() {
		interrupt()
		<-gone
	})
	return d
}

// awaitPage waits until the dashboards are served, and returns where.
func (d *running) awaitPage(t *testing.T) string {
	t.Helper()
	return d.out.await(t, d.ended, `http://127\.0\.0\.1:\d+/d/\S+`)
}

// awaitBurning waits for the alert, on the page too, and for all that is said of it.
func (d *running) awaitBurning(t *testing.T, address string) {
	t.Helper()
	const burning = `fires ObstackErrorBudgetBurnFast \(critical\): SLO api-availability of stack shop/shop`
	d.out.await(t, d.ended, burning)
	d.out.await(t, d.ended, `Of the error budget of api-availability -\d{3,4} % is left`)
	d.out.await(t, d.ended, `Why: every fifth order fails`)
	d.out.await(t, d.ended, `until you press Ctrl-C`)
	// The page moves in steps of five seconds, as its refresh does.
	eventually(t, "the page shows the alert", func() bool {
		return strings.Contains(fetch(t, address), ">ObstackErrorBudgetBurnFast<")
	})
}

// pages are those of the overview and of what it leads to.
func (d *running) pages(t *testing.T, address string) []string {
	t.Helper()
	origin, _, _ := strings.Cut(address, "/d/")
	links := regexp.MustCompile(`<a href="(/d/[^"]+)"`).FindAllStringSubmatch(fetch(t, address), -1)
	if len(links) != len(pictures) {
		t.Fatalf("the page leads to %d dashboards, want the overview, one of HTTP and one of tasks", len(links))
	}
	var pages []string
	for _, link := range links {
		pages = append(pages, origin+html.UnescapeString(link[1]))
	}
	return pages
}

// end interrupts the demo, of which nothing may be left.
func (d *running) end(t *testing.T, address string) {
	t.Helper()
	d.interrupt()
	if err := <-d.ended; err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	if _, err := http.Get(address); err == nil {
		t.Error("the page is served after the end")
	}
	left, err := os.ReadDir(d.temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	t.Log(d.out)
}

// wantDrawn checks that each panel of a page has data, or a text, and returns how many there are.
func wantDrawn(t *testing.T, page string) int {
	t.Helper()
	title := regexp.MustCompile(`<h1>([^<]+)`).FindStringSubmatch(page)
	panels := regexp.MustCompile(`(?s)<section id="panel-\d+".*?</section>`).FindAllString(page, -1)
	if title == nil || len(panels) < 10 {
		t.Fatalf("a page with %d panels:\n%s", len(panels), page)
	}
	for _, panel := range panels {
		name := regexp.MustCompile(`aria-label="([^"]*)"`).FindStringSubmatch(panel)[1]
		if why := regexp.MustCompile(`class="(?:empty|note)">([^<]*)`).FindStringSubmatch(panel); why != nil {
			t.Errorf("%s, %s: %s", title[1], name, why[1])
		}
	}
	return len(panels)
}

// wantPicture checks that a file is a picture of the light page with graphs, for a README.
func wantPicture(t *testing.T, name string, content []byte) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	size := picture.Bounds().Size()
	if size.X != pictureWidth || size.Y < 1000 || len(content) >= 300<<10 {
		t.Errorf("%s: %v pixels in %d bytes, want %d in width and less than 300 KiB", name, size, len(content),
			pictureWidth)
	}
	firstSeries, drawn := color.RGBA{R: 0x37, G: 0x87, B: 0x2D, A: 0xFF}, 0
	for y := range size.Y {
		for x := range size.X {
			if color.RGBAModel.Convert(picture.At(x, y)) == firstSeries {
				drawn++
			}
		}
	}
	if drawn < 1000 {
		t.Errorf("%s: %d pixels have the colour of a graph's first series in the light theme", name, drawn)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(content)
}

// output is what a demo that runs has said so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns what matches a pattern once it was said. It fails when the demo ends before.
func (o *output) await(t *testing.T, ended <-chan error, pattern string) string {
	t.Helper()
	said, found := regexp.MustCompile(pattern), ""
	eventually(t, "the demo says "+pattern, func() bool {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended (%v):\n%s", err, o)
		default:
		}
		found = said.FindString(o.String())
		return found != ""
	})
	return found
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Minute); !condition(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}
