// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"obstack.dev/obstack/internal/devtools"
)

// programs that draw pages, where the PATH or macOS has them.
var programs = []string{
	"google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "microsoft-edge", "microsoft-edge-stable",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	"/Applications/Chromium.app/Contents/MacOS/Chromium",
	"/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
}

// Find a program that draws pages.
func Find() (string, error) {
	if runtime.GOOS == "windows" {
		return "", errors.New("pictures are drawn on Linux and macOS only: open the page, and print it")
	}
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chrome, Chromium or Edge: install one, or put it into the PATH by the name " +
		"chromium")
}

// Chromium is a browser without a window, which makes pictures of documents. Its command line has
// nothing that is worth to be read.
type Chromium struct {
	command    *exec.Cmd
	profile    string
	connection *devtools.Connection
	said       tail
	heard      chan struct{} // closed when it has said all
	// loaded are the navigations that came to their end.
	loaded map[string]bool
	// err ends all.
	err error
}

// Arguments of a browser that looks nothing up, keeps nothing, and asks nobody for a password.
var arguments = []string{
	"--headless", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking",
	"--disable-component-update", "--disable-extensions", "--disable-sync", "--disable-breakpad", "--disable-gpu",
	"--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--no-default-browser-check",
	"--password-store=basic", "--use-mock-keychain",
}

// Start the program with a new profile. Close ends it.
func Start(program string) (*Chromium, error) {
	profile, err := os.MkdirTemp("", "obstack-browser-")
	if err != nil {
		return nil, err
	}
	c := &Chromium{profile: profile, heard: make(chan struct{}), loaded: map[string]bool{}}
	if err := c.start(program); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", program, err), os.RemoveAll(profile))
	}
	return c, nil
}

func (c *Chromium) start(program string) error {
	all := append([]string{"--user-data-dir=" + c.profile}, arguments...)
	if os.Geteuid() == 0 {
		all = append(all, "--no-sandbox") // As root it does not start otherwise.
	}
	// #nosec G204 -- one of the programs above, with arguments of our own
	c.command = exec.Command(program, append(all, "about:blank")...)
	c.command.SysProcAttr = ofItsOwn
	said, err := c.command.StderrPipe()
	if err != nil {
		return err
	}
	if c.connection, err = devtools.Start(c.command, c.note); err != nil {
		return err
	}
	go func() {
		defer close(c.heard)
		_, _ = io.Copy(&c.said, said) // It ends with its processes, or with Close.
	}()
	return nil
}

// note what was loaded.
func (c *Chromium) note(method string, params json.RawMessage) {
	var event struct{ LoaderID, Name string }
	if method == "Page.lifecycleEvent" && json.Unmarshal(params, &event) == nil && event.Name == "load" {
		c.loaded[event.LoaderID] = true
	}
}

// closeTimeout is how long processes that ended or were killed may take to leave.
const closeTimeout = 5 * time.Second

// Close ends the browser with all of its processes, and removes its profile.
func (c *Chromium) Close() error {
	// It would begin to end by itself where the pipes are closed first, forget the name of its socket,
	// and be killed before the socket is removed.
	_ = kill(c.command.Process) // It may have ended.
	_ = c.command.Wait()        // It was killed.
	_ = c.connection.Close()
	if socket, err := os.Readlink(filepath.Join(c.profile, "SingletonSocket")); err == nil {
		for _, beside := range []string{"SingletonSocket", "SingletonCookie", ""} {
			os.Remove(filepath.Join(filepath.Dir(socket), beside)) // It has a folder of its own.
		}
	}
	err := os.RemoveAll(c.profile)
	for end := time.Now().Add(closeTimeout); err != nil && time.Now().Before(end); err = os.RemoveAll(c.profile) {
		time.Sleep(10 * time.Millisecond) // Its processes were killed, and may not be gone yet.
	}
	return err
}

// Pictures are as wide as the viewer draws pages whose width nobody says, with density pixels for
// each of the page's. One is at most maxHeight of the page's high: Chromium draws at most 16,384.
const (
	width     = 1440
	density   = 2
	maxHeight = 8000
)

// Pictures of an HTML document as PNG files: one, or several from its top to its end where it is
// too high for one. Its scripts do not run. After an error there are no more.
func (c *Chromium) Pictures(ctx context.Context, document string) ([][]byte, error) {
	// Whoever holds the other ends of the pipes, nothing waits for them.
	defer context.AfterFunc(ctx, c.connection.Interrupt)()
	pictures := c.pictures(document)
	switch {
	case c.err == nil:
		return pictures, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s does not respond in time", c.command.Path)
	}
	return nil, fmt.Errorf("%s draws nothing: %w", c.command.Path, c.err)
}

type parameters = devtools.Parameters

func (c *Chromium) pictures(document string) (pictures [][]byte) {
	var target struct{ TargetID string }
	var attached struct{ SessionID string }
	var blank struct{ LoaderID string }
	var size struct{ CSSContentSize struct{ Height float64 } }
	c.connection.Session = ""
	c.do("Target.createTarget", parameters{"url": "about:blank"}, &target)
	c.do("Target.attachToTarget", parameters{"targetId": target.TargetID, "flatten": true}, &attached)
	c.connection.Session = attached.SessionID
	c.do("Emulation.setScriptExecutionDisabled", parameters{"value": true}, nil)
	c.do("Emulation.setDeviceMetricsOverride", parameters{
		"width": width, "height": 1000, "deviceScaleFactor": density, "mobile": false,
	}, nil)
	// A new page loads about:blank by itself, and would do so over the document. The next time it is
	// known when that is done.
	c.do("Page.enable", parameters{}, nil)
	c.do("Page.setLifecycleEventsEnabled", parameters{"enabled": true}, nil)
	c.do("Page.navigate", parameters{"url": "about:blank"}, &blank)
	if c.err == nil {
		c.err = c.why(c.connection.Await(func() bool { return c.loaded[blank.LoaderID] }))
	}
	// The frame of a page has the name of its target.
	c.do("Page.setDocumentContent", parameters{"frameId": target.TargetID, "html": document}, nil)
	c.do("Page.getLayoutMetrics", parameters{}, &size)
	for y := 0.0; c.err == nil && y < size.CSSContentSize.Height; y += maxHeight {
		var captured struct{ Data []byte }
		c.do("Page.captureScreenshot", parameters{"captureBeyondViewport": true, "clip": parameters{
			"x": 0, "y": y, "width": width, "height": min(size.CSSContentSize.Height-y, maxHeight), "scale": 1,
		}}, &captured)
		if c.err == nil && len(captured.Data) == 0 {
			c.err = errors.New("Page.captureScreenshot: there is no picture in its reply")
		}
		pictures = append(pictures, captured.Data)
	}
	c.do("Page.close", parameters{}, nil)
	if c.err == nil && len(pictures) == 0 {
		c.err = errors.New("Page.getLayoutMetrics: the page has no height in its reply")
	}
	return pictures
}

// do a command unless one before failed, and read its result.
func (c *Chromium) do(method string, with parameters, result any) {
	if c.err != nil {
		return
	}
	if err := c.connection.Do(method, with, result); err != nil {
		c.err = fmt.Errorf("%s: %w", method, c.why(err))
	}
}

// why a browser is gone, if it is, in its own words if it has said any. They come by another pipe,
// which a script that starts the browser may have others pass on.
func (c *Chromium) why(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	select {
	case <-c.heard:
	case <-time.After(closeTimeout):
	}
	if words := c.said.last(); words != "" {
		return errors.New("it says " + words)
	}
	return err
}
