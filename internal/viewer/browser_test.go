// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/test/browser"
)

// TestBrowser opens each dashboard of a stack, and uses one as a person does.
func TestBrowser(t *testing.T) {
	b, f, all := browser.Start(t), newFake(t), stackDashboards(t)
	content, err := os.ReadFile("testdata/all.json")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, parse(t, content))
	v := newViewer(t, f, all...)
	v.location = time.Local
	server := serverOf(t, v)
	server.Start()
	for _, d := range all {
		b.WantWhole(server.URL+d.path(), len(d.Panels)-strings.Count(d.Title, "Everything"))
	}
	testKeys(b, v)
	testChoices(b, server.URL+all[len(all)-1].path())
	testPhone(b)
	b.WantQuiet(server.URL)
}

// TestBrowserPictures compares what Chromium makes of the page with everything: light, dark, and as
// wide as a phone.
func TestBrowserPictures(t *testing.T) {
	b := browser.Start(t)
	content, err := os.ReadFile("testdata/all.json")
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, content)
	server := serverOf(t, newViewer(t, newFake(t), d))
	server.Start()
	for _, tc := range []struct {
		name, theme string
		width       int
	}{
		{"light", "light", 1000}, {"dark", "dark", 1000}, {"phone", "light", 390},
	} {
		b.Resize(tc.width, 800, 1, tc.name == "phone")
		b.Open(server.URL + d.path())
		b.Theme(tc.theme)
		browser.Golden(t, filepath.Join("testdata", tc.name+".png"), b.Picture("main"), *update)
	}
	b.WantQuiet(server.URL)
}

// testKeys on the page with everything.
func testKeys(b *browser.Browser, v *Viewer) {
	b.Want("drawn as wide as it is", "refreshing", false)
	const graph = "document.querySelector('svg[data-readings]')"
	b.Value(graph + ".focus()")
	b.Press("ArrowLeft")
	b.Want("values", "document.getElementById('values').hidden", false)
	b.Want("the last time", "document.querySelector('#values strong').textContent",
		noon.In(v.location).Format("2006-01-02 15:04:05"))
	b.Press("ArrowLeft")
	b.Want("the time before", "document.querySelector('#values strong').textContent",
		noon.Add(-time.Minute).In(v.location).Format("2006-01-02 15:04:05"))
	b.Want("series", "document.querySelectorAll('#values div').length", float64(2))
	b.Want("a line in each graph", "document.querySelectorAll('.hair').length === "+
		"document.querySelectorAll('svg[data-readings]').length", true)
	b.Press("Escape")
	b.Want("no values", "document.getElementById('values').hidden", true)
	b.Press("f")
	b.Want("folded", "document.querySelector('.row').open", false)
	b.Press("f")
	b.Want("unfolded", "document.querySelector('.row').open", true)
	b.Press("t")
	b.Want("a theme", "['light', 'dark'].includes(document.documentElement.dataset.theme)", true)
	later := noon.Add(time.Hour)
	v.now = func() time.Time { return later }
	b.Want("no refresh", "refreshing", false)
	b.Press("r")
	b.Want("refreshed", "document.getElementById('status').textContent",
		later.In(v.location).Format("2006-01-02 15:04:05"))
	box := b.Value(fmt.Sprintf(`(() => {
		const box = %s.getBoundingClientRect();
		return [box.left + box.width / 2, box.top + 40];
	})()`, graph)).([]any)
	b.Do("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": box[0], "y": box[1]})
	b.Want("values at the pointer", "document.getElementById('values').hidden", false)
}

// testChoices of a variable, where one value and all of them exclude each other, and of a range,
// which shows both.
func testChoices(b *browser.Browser, address string) {
	box := func(value string) string { return `document.querySelector("input[value='` + value + `']")` }
	b.Want("a queue", box("celery")+".checked", true)
	b.Value(box("$__all") + ".click()")
	b.Want("all instead of one", box("celery")+".checked", false)
	b.Value(box("emails") + ".click()")
	b.Want("one instead of all", box("$__all")+".checked", false)
	// The form is caught, because nothing can be asked of a page that is on its way to another.
	asked := b.Value(`(() => {
		let asked = "";
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			asked = new URLSearchParams(new FormData(form)).toString();
		}, { once: true });
		const from = form.elements.from;
		from.value = "now-6h";
		from.dispatchEvent(new Event("change", { bubbles: true }));
		return asked;
	})()`)
	b.Open(fmt.Sprintf("%s?%s", address, asked))
	b.Want("the range", "form.elements.from.value", "now-6h")
	b.Want("the queue", "document.querySelector('.menu summary').textContent.trim()", "Queue: emails")
}

// testPhone has one panel in a row, none of which is wider than the screen.
func testPhone(b *browser.Browser) {
	b.Resize(390, 800, 1, true)
	b.Want("drawn for it", "document.querySelector('.panel svg')?.viewBox.baseVal.width < 390", true)
	b.Want("one column", "new Set([...document.querySelectorAll('.panel')].map((p) => p.offsetLeft)).size", float64(1))
	b.Want("no wider", "document.documentElement.scrollWidth <= 390", true)
}
