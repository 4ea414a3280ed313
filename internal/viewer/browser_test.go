// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a Chromium without a window, which is spoken to by the DevTools protocol over two
// pipes.
type browser struct {
	t       *testing.T
	to      *os.File
	session string

	mu      sync.Mutex
	last    int
	waiting map[int]chan json.RawMessage
	// problems are errors of scripts, of the console and of loading; urls what was asked for.
	problems, urls []string
}

// startBrowser as make test-dashboards installs it.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if os.Getenv("OBSTACK_INTEGRATION") == "" || err != nil {
		t.Skip("SKIPPED, NOT TESTED: no Chromium; run make test-dashboards")
	}
	theirs, to := pipe(t)
	from, ours := pipe(t)
	command := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
		"--user-data-dir="+t.TempDir(), "--window-size=1440,1000", "about:blank")
	command.ExtraFiles = []*os.File{theirs, ours}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.Close()
	b := &browser{t: t, to: to, waiting: map[int]chan json.RawMessage{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(from)
	}()
	t.Cleanup(func() {
		_, _ = b.send("Browser.close", nil)
		_ = command.Wait()
		<-read
	})
	target := b.do("Target.createTarget", map[string]any{"url": "about:blank"})
	attached := b.do("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})
	b.session, _ = attached["sessionId"].(string)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.do(domain+".enable", nil)
	}
	return b
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return read, write
}

// read messages until the browser ends.
func (b *browser) read(from *os.File) {
	defer from.Close()
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, reply := range b.waiting {
				close(reply)
			}
			b.waiting = nil
			return
		}
		b.take(text[:len(text)-1])
	}
}

// take a reply, or note what happened.
func (b *browser) take(text []byte) {
	var message struct {
		ID     int
		Method string
		Params struct {
			Type    string
			Request struct{ URL string }
			Entry   struct{ Level, Text, URL string }
		}
	}
	_ = json.Unmarshal(text, &message) // What is something else has none of these.
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case message.ID != 0:
		b.waiting[message.ID] <- text
		delete(b.waiting, message.ID)
	case message.Method == "Runtime.exceptionThrown", message.Params.Entry.Level == "error",
		message.Method == "Runtime.consoleAPICalled" && message.Params.Type == "error":
		b.problems = append(b.problems, string(text))
	case message.Method == "Network.requestWillBeSent":
		b.urls = append(b.urls, message.Params.Request.URL)
	}
}

// send a command, and return where its reply comes.
func (b *browser) send(method string, params map[string]any) (chan json.RawMessage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	message := map[string]any{"id": b.last, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = b.session
	}
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	reply := make(chan json.RawMessage, 1)
	if b.waiting == nil {
		close(reply)
		return reply, nil
	}
	b.waiting[b.last] = reply
	_, err = b.to.Write(append(text, 0))
	return reply, err
}

// do a command, and return its result.
func (b *browser) do(method string, params map[string]any) map[string]any {
	b.t.Helper()
	reply, err := b.send(method, params)
	if err != nil {
		b.t.Fatal(err)
	}
	var message struct {
		Result map[string]any
		Error  struct{ Message string }
	}
	select {
	case text := <-reply:
		if err := json.Unmarshal(text, &message); err != nil || message.Error.Message != "" {
			b.t.Fatalf("%s: %v %s", method, err, message.Error.Message)
		}
	case <-time.After(time.Minute):
		b.t.Fatalf("%s: the browser does not respond", method)
	}
	return message.Result
}

// value of an expression in the page.
func (b *browser) value(expression string) any {
	b.t.Helper()
	result := b.do("Runtime.evaluate", map[string]any{
		"expression": expression, "returnByValue": true, "awaitPromise": true,
	})
	if thrown, ok := result["exceptionDetails"]; ok {
		b.t.Fatalf("%s: %v", expression, thrown)
	}
	value, _ := result["result"].(map[string]any)
	return value["value"]
}

// want waits until an expression has a value.
func (b *browser) want(what, expression string, want any) {
	b.t.Helper()
	var got any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = b.value(expression); got == want {
			return
		}
	}
	b.t.Errorf("%s: %s is %v, want %v", what, expression, got, want)
}

// press a key.
func (b *browser) press(key string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.do("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key})
	}
}

// TestBrowser opens each dashboard of a stack, and uses one as a person does.
func TestBrowser(t *testing.T) {
	b, f, all := startBrowser(t), newFake(t), stackDashboards(t)
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
		b.do("Page.navigate", map[string]any{"url": server.URL + d.path()})
		b.want(d.Title, "document.readyState", "complete")
		b.want(d.Title, "document.querySelectorAll('.panel:has(svg, .scroll, .empty)').length",
			float64(len(d.Panels)-strings.Count(d.Title, "Everything")))
		b.want(d.Title+": nothing is wider than the page", "document.documentElement.scrollWidth <= innerWidth", true)
		b.want(d.Title+": drawn as wide as it is", "refreshing", false)
		for _, theme := range []string{"dark", "light"} {
			b.value("document.documentElement.dataset.theme = '" + theme + "'")
			b.wantAccessible(d.Title + ", " + theme)
		}
	}
	b.testKeys(v)
	b.testPhone()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		t.Errorf("the browser says %s", problem)
	}
	for _, url := range b.urls {
		if !strings.HasPrefix(url, server.URL+"/") && url != "data:," && url != "about:blank" {
			t.Errorf("the page asks for %s", url)
		}
	}
}

// wantAccessible has axe-core look for what keeps people out.
func (b *browser) wantAccessible(title string) {
	b.t.Helper()
	script, err := os.ReadFile("../../hack/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		b.t.Fatalf("no axe-core: run make test-dashboards, which installs it: %v", err)
	}
	b.value(string(script) + "; true")
	found := b.value(`axe.run().then((r) => r.violations
		.filter((v) => ["serious", "critical"].includes(v.impact))
		.map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + n.failureSummary).join(", "))
		.join("; "))`)
	if found != "" {
		b.t.Errorf("%s: %v", title, found)
	}
}

// testKeys on the page with everything.
func (b *browser) testKeys(v *Viewer) {
	b.want("drawn as wide as it is", "refreshing", false)
	const graph = "document.querySelector('svg[data-readings]')"
	b.value(graph + ".focus()")
	b.press("ArrowLeft")
	b.want("values", "document.getElementById('values').hidden", false)
	b.want("the last time", "document.querySelector('#values strong').textContent",
		noon.In(v.location).Format("2006-01-02 15:04:05"))
	b.press("ArrowLeft")
	b.want("the time before", "document.querySelector('#values strong').textContent",
		noon.Add(-time.Minute).In(v.location).Format("2006-01-02 15:04:05"))
	b.want("series", "document.querySelectorAll('#values div').length", float64(2))
	b.want("a line in each graph", "document.querySelectorAll('.hair').length === "+
		"document.querySelectorAll('svg[data-readings]').length", true)
	b.press("Escape")
	b.want("no values", "document.getElementById('values').hidden", true)
	b.press("f")
	b.want("folded", "document.querySelector('.row').open", false)
	b.press("f")
	b.want("unfolded", "document.querySelector('.row').open", true)
	b.press("t")
	b.want("a theme", "['light', 'dark'].includes(document.documentElement.dataset.theme)", true)
	later := noon.Add(time.Hour)
	v.now = func() time.Time { return later }
	b.want("no refresh", "refreshing", false)
	b.press("r")
	b.want("refreshed", "document.getElementById('status').textContent",
		later.In(v.location).Format("2006-01-02 15:04:05"))
	box := b.value(fmt.Sprintf(`(() => {
		const box = %s.getBoundingClientRect();
		return [box.left + box.width / 2, box.top + 40];
	})()`, graph)).([]any)
	b.do("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": box[0], "y": box[1]})
	b.want("values at the pointer", "document.getElementById('values').hidden", false)
}

// testPhone has one panel in a row, none of which is wider than the screen.
func (b *browser) testPhone() {
	b.do("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true,
	})
	b.want("drawn for it", "document.querySelector('.panel svg')?.viewBox.baseVal.width < 390", true)
	b.want("one column", "new Set([...document.querySelectorAll('.panel')].map((p) => p.offsetLeft)).size", float64(1))
	b.want("no wider", "document.documentElement.scrollWidth <= 390", true)
}
