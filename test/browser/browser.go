// SPDX-License-Identifier: Apache-2.0

// Package browser opens pages in Chromium, as make test-dashboards installs it, for tests that look
// at what a person sees.
package browser

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fonts are those that pages are drawn with, whatever else the machine has.
//
//go:embed fonts.conf
var fonts []byte

// Browser is a Chromium without a window, which is spoken to by the DevTools protocol over two
// pipes.
type Browser struct {
	t       *testing.T
	to      *os.File
	session string

	mu      sync.Mutex
	last    int
	waiting map[int]chan json.RawMessage
	// problems are errors of scripts, of the console and of loading; urls what was asked for.
	problems, urls []string
}

// closeTimeout is how long it may take to end.
const closeTimeout = 20 * time.Second

// Start it as make test-dashboards installs it.
func Start(t *testing.T) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if os.Getenv("OBSTACK_INTEGRATION") == "" || err != nil {
		t.Skip("SKIPPED, NOT TESTED: no Chromium; run make test-dashboards")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fonts.conf"), fonts, 0o600); err != nil {
		t.Fatal(err)
	}
	theirs, to := pipe(t)
	from, ours := pipe(t)
	command := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
		"--hide-scrollbars", "--disable-lcd-text", "--font-render-hinting=none", "--force-color-profile=srgb",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1440,1000", "about:blank")
	command.Env = append(os.Environ(), "FONTCONFIG_FILE="+filepath.Join(dir, "fonts.conf"), "XDG_CACHE_HOME="+dir)
	command.ExtraFiles = []*os.File{theirs, ours}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.Close()
	b := &Browser{t: t, to: to, waiting: map[int]chan json.RawMessage{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(from)
	}()
	t.Cleanup(func() {
		killing := time.AfterFunc(closeTimeout, func() { _ = command.Process.Kill() })
		defer killing.Stop()
		_, _ = b.send("Browser.close", nil)
		_ = command.Wait()
		<-read
		for end := time.Now().Add(closeTimeout); os.RemoveAll(dir) != nil && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) // Its other processes may write for a moment longer.
		}
	})
	target := b.Do("Target.createTarget", map[string]any{"url": "about:blank"})
	attached := b.Do("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})
	b.session, _ = attached["sessionId"].(string)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.Do(domain+".enable", nil)
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
func (b *Browser) read(from *os.File) {
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
func (b *Browser) take(text []byte) {
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
func (b *Browser) send(method string, params map[string]any) (chan json.RawMessage, error) {
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

// Do a command, and return its result.
func (b *Browser) Do(method string, params map[string]any) map[string]any {
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

// Value of an expression in the page.
func (b *Browser) Value(expression string) any {
	b.t.Helper()
	result := b.Do("Runtime.evaluate", map[string]any{
		"expression": expression, "returnByValue": true, "awaitPromise": true,
	})
	if thrown, ok := result["exceptionDetails"]; ok {
		b.t.Fatalf("%s: %v", expression, thrown)
	}
	value, _ := result["result"].(map[string]any)
	return value["value"]
}

// Want waits until an expression has a value.
func (b *Browser) Want(what, expression string, want any) {
	b.t.Helper()
	var got any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = b.Value(expression); got == want {
			return
		}
	}
	b.t.Errorf("%s: %s is %v, want %v", what, expression, got, want)
}

// Press a key.
func (b *Browser) Press(key string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.Do("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key})
	}
}

// Resize the page, in its pixels. The scale is how many of a picture are one of them.
func (b *Browser) Resize(width, height int, scale float64, phone bool) {
	b.t.Helper()
	b.Do("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone,
	})
}

// Open a page of the viewer, and wait until it is drawn as wide as it is.
func (b *Browser) Open(address string) {
	b.t.Helper()
	b.Do("Page.navigate", map[string]any{"url": address})
	b.Want(address, "document.readyState", "complete")
	b.Want(address+": drawn as wide as it is", "refreshing", false)
}

// WantWhole opens a dashboard and checks what holds for each of them: all panels have something or
// say why not, nothing is wider than the page, and in both themes nobody is kept out.
func (b *Browser) WantWhole(address string, panels int) {
	b.t.Helper()
	b.Open(address)
	// A title and nothing below it is no panel.
	b.Want(address+": whole panels",
		"document.querySelectorAll('.panel:has(svg text, tbody tr, .text p, .note, .empty)').length",
		float64(panels))
	b.Want(address+": nothing is wider than the page", "document.documentElement.scrollWidth <= innerWidth", true)
	for _, theme := range []string{"dark", "light"} {
		b.Theme(theme)
		b.wantAccessible(address + ", " + theme)
	}
}

// Theme of the page: dark or light.
func (b *Browser) Theme(name string) {
	b.t.Helper()
	b.Value("document.documentElement.dataset.theme = '" + name + "'")
}

// wantAccessible has axe-core look for what keeps people out.
func (b *Browser) wantAccessible(what string) {
	b.t.Helper()
	script, err := os.ReadFile("../../hack/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		b.t.Fatalf("no axe-core: run make test-dashboards, which installs it: %v", err)
	}
	b.Value(string(script) + "; true")
	found := b.Value(`axe.run().then((r) => r.violations
		.filter((v) => ["serious", "critical"].includes(v.impact))
		.map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + n.failureSummary).join(", "))
		.join("; "))`)
	if found != "" {
		b.t.Errorf("%s: %v", what, found)
	}
}

// WantQuiet checks that there was no error so far, of a script, of the console or of loading, and
// that nothing was asked for but of this server.
func (b *Browser) WantQuiet(server string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		b.t.Errorf("the browser says %s", problem)
	}
	for _, asked := range b.urls {
		if !strings.HasPrefix(asked, strings.TrimSuffix(server, "/")+"/") && asked != "data:," && asked != "about:blank" {
			b.t.Errorf("the page asks for %s", asked)
		}
	}
}
