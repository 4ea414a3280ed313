// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// bench is an exporter without a broker, whose clock the test moves.
type bench struct {
	*Exporter
	t   *testing.T
	now time.Time
}

// start is the first moment of every test, in Unix seconds.
const start = 1_700_000_000

func newBench(t *testing.T, args ...string) *bench {
	t.Helper()
	options, err := ParseOptions(append([]string{"--broker-url", "redis://localhost"}, args...),
		func(string) string { return "" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := New(options, broker.New(options.Address, options.Transport, nil), slog.New(slog.DiscardHandler))
	b := &bench{Exporter: e, t: t, now: time.Unix(start, 0)}
	e.clock = func() time.Time { return b.now }
	b.connected.Store(true)
	b.wait(0)
	return b
}

// send handles events, given as JSON objects without the usual fields.
func (b *bench) send(events ...string) {
	b.t.Helper()
	for _, e := range events {
		b.tracker.message([]byte(e), wire.Format{ContentType: "application/json"})
	}
}

// wait lets time pass.
func (b *bench) wait(span time.Duration) {
	b.now = b.now.Add(span)
	b.tracker.tick(b.now, b.connected.Load())
}

// event returns the JSON of an event; more fields are given as text.
func event(kind, node string, at float64, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{"type": %q, "hostname": %q, "timestamp": %f%s}`, kind, node, start+at, more)
}

func of(uuid string) string { return fmt.Sprintf(`"uuid": %q`, uuid) }

func named(uuid, name string) string { return of(uuid) + fmt.Sprintf(`, "name": %q`, name) }

func sentTo(uuid, name, queue string) string {
	return named(uuid, name) + fmt.Sprintf(`, "queue": %q`, queue)
}

// scrape returns the samples whose name begins with one of the prefixes, sorted, those that are
// zero left out.
func (b *bench) scrape(prefixes ...string) []string {
	b.t.Helper()
	var found []string
	for line := range strings.SplitSeq(b.metricsText(), "\n") {
		for _, prefix := range prefixes {
			if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0") && !strings.Contains(line, "_bucket{") {
				found = append(found, line)
			}
		}
	}
	sort.Strings(found)
	return found
}

func (b *bench) metricsText() string {
	b.t.Helper()
	recorder := httptest.NewRecorder()
	b.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	if recorder.Code != 200 {
		b.t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

func (b *bench) want(prefix string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.scrape(prefix)); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", prefix, diff)
	}
}

func textLog(to io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }
