// SPDX-License-Identifier: Apache-2.0

// Package browser opens pages in Chromium, as make test-dashboards installs it, for tests that look
// at what a person sees.
package browser

import (
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/internal/devtools"
)

// fonts are those that pages are drawn with, whatever else the machine has.
//
//go:embed fonts.conf
var fonts []byte

// Browser is a Chromium without a window.
type Browser struct {
	t          *testing.T
	connection *devtools.Connection
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
	command := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
		"--hide-scrollbars", "--disable-lcd-text", "--font-render-hinting=none", "--force-color-profile=srgb",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1440,1000", "about:blank")
	command.Env = append(os.Environ(), "FONTCONFIG_FILE="+filepath.Join(dir, "fonts.conf"), "XDG_CACHE_HOME="+dir)
	b := &Browser{t: t}
	if b.connection, err = devtools.Start(command, b.note); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killing := time.AfterFunc(closeTimeout, func() { _ = command.Process.Kill() })
		defer killing.Stop()
		b.connection.Session = ""
		_ = b.connection.Do("Browser.close", nil, nil)
		_ = b.connection.Close()
		_ = command.Wait()
		for end := time.Now().Add(closeTimeout); os.RemoveAll(dir) != nil && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) // Its other processes may write for a moment longer.
		}
	})
	target := b.Do("Target.createTarget", map[string]any{"url": "about:blank"})
	attached := b.Do("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})
	b.connection.Session, _ = attached["sessionId"].(string)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.Do(domain+".enable", nil)
	}
	return b
}

// note what happened.
func (b *Browser) note(method string, params json.RawMessage) {
	var of struct {
		Type    string
		Request struct{ URL string }
		Entry   struct{ Level string }
	}
	_ = json.Unmarshal(params, &of) // What is something else has none of these.
	switch {
	case method == "Runtime.exceptionThrown", of.Entry.Level == "error",
		method == "Runtime.consoleAPICalled" && of.Type == "error":
		b.problems = append(b.problems, method+" "+string(params))
	case method == "Network.requestWillBeSent":
		b.urls = append(b.urls, of.Request.URL)
	}
}

// Do a command, and return its result.
func (b *Browser) Do(method string, params map[string]any) map[string]any {
	b.t.Helper()
	defer time.AfterFunc(time.Minute, b.connection.Interrupt).Stop()
	var result map[string]any
	if err := b.connection.Do(method, params, &result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	return result
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
	b.Value("true") // What happened before is read by now.
	for _, problem := range b.problems {
		b.t.Errorf("the browser says %s", problem)
	}
	for _, asked := range b.urls {
		if !strings.HasPrefix(asked, strings.TrimSuffix(server, "/")+"/") && asked != "data:," && asked != "about:blank" {
			b.t.Errorf("the page asks for %s", asked)
		}
	}
}
