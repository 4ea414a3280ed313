// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write test/scrapes afresh from what the services expose")

const scrapes = "../scrapes"

// keepScrapes compares the kept scrapes, on which the panels are tried without real parts, with
// what the services and the exporter expose: the same metrics with the same labels. With -update it
// keeps these instead.
func keepScrapes(t *testing.T, services []service, workers celery) {
	urls := map[string]string{"task-exporter": workers.exporter + "/metrics"}
	for _, s := range services {
		urls[s.app()] = s.metrics()
	}
	for name, url := range urls {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(scrapes, name+".prom")
		if *update {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: run make test-dashboards UPDATE=1", err)
		}
		if diff := cmp.Diff(shape(string(kept)), shape(string(text))); diff != "" {
			t.Errorf("%s is not what %s exposes; see what changed, then run make test-dashboards UPDATE=1 (-kept +exposed):\n%s",
				file, name, diff)
		}
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? \S+$`)
	labelName  = regexp.MustCompile(`[{,]([a-zA-Z_][a-zA-Z0-9_]*)="`)
)

// shape lists the metrics of a scrape, each with its labels and, for a histogram, its boundaries.
// Metrics of the language's run time differ between versions and machines, and no panel asks for
// them.
func shape(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		match := sampleLine.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil || strings.HasPrefix(match[1], "go_") || strings.HasPrefix(match[1], "python_") {
			continue
		}
		metric := match[1]
		for _, label := range labelName.FindAllStringSubmatch(match[2], -1) {
			metric += " " + label[1]
		}
		if _, boundary, ok := strings.Cut(match[2], `le="`); ok {
			boundary, _, _ = strings.Cut(boundary, `"`)
			metric += "=" + boundary
		}
		found = append(found, metric)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
