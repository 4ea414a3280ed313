// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"obstack.dev/obstack/test/testenv"
)

// recording of a terminal, as asciinema plays it: asciicast, version 2.
type recording struct {
	text bytes.Buffer
	// seconds since it began.
	seconds float64
}

// add a line of JSON.
func (r *recording) add(t *testing.T, line any) {
	t.Helper()
	encoder := json.NewEncoder(&r.text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		t.Fatal(err)
	}
}

// show a text some seconds later.
func (r *recording) show(t *testing.T, after float64, text string) {
	t.Helper()
	r.seconds = math.Round((r.seconds+after)*100) / 100
	r.add(t, []any{r.seconds, "o", strings.ReplaceAll(text, "\n", "\r\n")})
}

// enter a command line, and show what it prints.
func (r *recording) enter(t *testing.T, kubeconfig, line string) {
	t.Helper()
	r.show(t, 1, "$ ")
	for _, key := range "kubectl obstack " + line {
		r.show(t, 0.05, string(key))
	}
	out, errs, _ := kubectlObstack(t, kubeconfig, strings.Fields(line)...)
	if !strings.Contains(out, "\x1b[3") || errs != "" {
		t.Errorf("%s prints without colours, and says %q:\n%s", line, errs, out)
	}
	r.show(t, 0.5, "\n"+out)
	r.show(t, 4, "")
}

// TestRecording makes docs/kubectl.cast of what commands print for stacks on a real API server.
func TestRecording(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	createObjects(t, api)
	createStack(t, api, "healthy")
	createStack(t, api, "broken")
	t.Setenv("CLICOLOR_FORCE", "1")
	r := &recording{}
	r.add(t, map[string]any{
		"version": 2, "width": columns, "height": 32, "title": "kubectl obstack",
		"env": map[string]string{"TERM": "xterm-256color"},
	})
	for _, command := range []string{
		"status healthy -n shop", "status broken -n shop", "explain api-7d4b-missed -n shop",
	} {
		r.enter(t, plane.Kubeconfig, command)
	}
	wantFile(t, "../../docs/kubectl.cast", r.text.String())
}

// TestColours are for terminals, and for those who ask for them.
func TestColours(t *testing.T) {
	const red = "\x1b[31mbroken\x1b[0m\n"
	for _, test := range []struct{ force, no, want string }{
		{"", "", "broken\n"}, {"1", "", red}, {"0", "", "broken\n"}, {"1", "1", "broken\n"},
	} {
		t.Run(fmt.Sprintf("CLICOLOR_FORCE=%s,NO_COLOR=%s", test.force, test.no), func(t *testing.T) {
			t.Setenv("CLICOLOR_FORCE", test.force)
			t.Setenv("NO_COLOR", test.no)
			var out bytes.Buffer
			p, err := newPrinter(&out, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.show(nil, []node{{text: "broken", state: "False"}}); err != nil || out.String() != test.want {
				t.Errorf("it prints %q (%v), want %q", out.String(), err, test.want)
			}
		})
	}
}
