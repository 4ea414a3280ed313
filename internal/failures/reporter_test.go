// SPDX-License-Identifier: Apache-2.0

package failures

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// receiver is an HTTP server that takes envelopes as Sentry does and keeps the events.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		lines := bufio.NewScanner(req.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			event := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &event) == nil && (event["exception"] != nil || event["message"] != nil) {
				r.mu.Lock()
				r.events = append(r.events, event)
				r.mu.Unlock()
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) dsn() string {
	return strings.Replace(r.URL, "://", "://s3cr3tkey@", 1) + "/42"
}

func newReporter(t *testing.T, env map[string]string) *Reporter {
	t.Helper()
	r, err := NewReporter(func(name string) string { return env[name] }, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var request = reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "web"}}

func failing(err error) reconcile.Reconciler {
	return reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		return reconcile.Result{}, err
	})
}

func TestReporterReportsErrorsThatRecur(t *testing.T) {
	sentry := newReceiver(t)
	r := newReporter(t, map[string]string{"SENTRY_DSN": sentry.dsn(), "SENTRY_ENVIRONMENT": "staging"})
	broken := r.Wrap(failing(errors.New("apply redis://user:hunter2@redis:6379: refused")))
	healthy := r.Wrap(failing(nil))
	for range recurring - 1 {
		_, _ = broken.Reconcile(t.Context(), request)
	}
	_, _ = healthy.Reconcile(t.Context(), request) // breaks the streak
	for range recurring + 3 {
		if _, err := broken.Reconcile(t.Context(), request); err == nil {
			t.Fatal("the error did not go on to the caller")
		}
	}
	r.Flush()
	if len(sentry.events) != 1 {
		t.Fatalf("%d events, want one", len(sentry.events))
	}
	event := sentry.events[0]
	text, _ := json.Marshal(event)
	if strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "s3cr3tkey") {
		t.Errorf("the event holds a secret: %s", text)
	}
	if event["release"] != "obstack@1.2.3" || event["environment"] != "staging" {
		t.Errorf("release %v, environment %v, want obstack@1.2.3 and staging", event["release"], event["environment"])
	}
	if !strings.Contains(string(text), `"namespace":"shop"`) || !strings.Contains(string(text),
		"failed 5 times in a row") {
		t.Errorf("the event does not say what failed and how often: %s", text)
	}
}

func TestReporterKeepsWhatHoldsNoPassword(t *testing.T) {
	for text, want := range map[string]string{
		`Get "https://10.0.0.1:443/apis": dial tcp: i/o timeout`: `Get "https://10.0.0.1:443/apis": dial tcp: i/o timeout`,
		"no URL, but user@host":                                  "no URL, but user@host",
		"apply redis://user:hunter2@redis:6379: refused":         "apply redis://***",
		`parse "redis://:hunter2?x@h": invalid port ":hunter2"`:  `parse "redis://***`,
		"redis://:hunter2":                                       "redis://***",
		"https://key@sentry.example/42":                          "https://***",
		"see https://docs.example, not amqp://u:p w@h":           "see https://***",
		"ftphttp://hunter2":                                      "ftphttp://***",
	} {
		if got := withoutCredentials(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// FuzzWithoutCredentials puts a password of any characters into the URL of an error's text.
func FuzzWithoutCredentials(f *testing.F) {
	for _, seed := range [][3]string{
		{"get https://u:", "hunter2/?", "@h: refused"}, {`parse "redis://:`, "hunter2 x", `": invalid port ":hunter2 x"`},
		{"x://a and https://:", "://@", "@"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, before, password, after string) {
		lower := strings.ToLower(before)
		web := strings.Contains(lower, "http://") || strings.Contains(lower, "https://")
		if !strings.Contains(before, "://") || web && !strings.Contains(after, "@") {
			return
		}
		got, found := strings.CutSuffix(withoutCredentials(before+password+after), "***")
		if !found || !strings.HasPrefix(before, got) {
			t.Errorf("%q%q%q: got %q", before, password, after, got)
		}
	})
}

func TestReporterReportsPanicsAndLetsThemGoOn(t *testing.T) {
	sentry := newReceiver(t)
	r := newReporter(t, map[string]string{"SENTRY_DSN": sentry.dsn(), "SENTRY_RELEASE": "mine"})
	panicking := r.Wrap(
		reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) { panic("boom") }))
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v, want the panic to go on", p)
			}
		}()
		_, _ = panicking.Reconcile(t.Context(), request)
	}()
	r.Flush()
	if len(sentry.events) != 1 || sentry.events[0]["release"] != "mine" {
		t.Errorf("events = %v, want one of release mine", sentry.events)
	}
}

func TestReporterIsRateLimited(t *testing.T) {
	sentry := newReceiver(t)
	r := newReporter(t, map[string]string{"SENTRY_DSN": sentry.dsn()})
	broken := r.Wrap(failing(errors.New("refused")))
	for i := range 3 * reportsPerMinute {
		req := request
		req.Name += strings.Repeat("x", i)
		for range recurring {
			_, _ = broken.Reconcile(t.Context(), req)
		}
	}
	r.Flush()
	if got := len(sentry.events); got == 0 || got > reportsPerMinute+1 {
		t.Errorf("%d events, want some and about %d at most", got, reportsPerMinute)
	}
}

func TestReporterSpacesReportsOfOneObjectOut(t *testing.T) {
	var got []int
	for n := range 1000 {
		if isReported(n) {
			got = append(got, n)
		}
	}
	if want := []int{5, 50, 500}; !slices.Equal(got, want) {
		t.Errorf("reported = %v, want %v", got, want)
	}
}

func TestReporterWrapsNothingWithoutADSN(t *testing.T) {
	r := newReporter(t, nil)
	defer r.Flush()
	want := failing(nil)
	if _, wrapped := r.Wrap(want).(reconcile.Func); !wrapped || r.hub != nil {
		t.Error("a reporter without a DSN does something")
	}
}

func TestReporterRefusesABadDSNWithoutQuotingIt(t *testing.T) {
	_, err := NewReporter(func(string) string { return "https://s3cr3tkey@:bad" }, "1.2.3")
	if err == nil || strings.Contains(err.Error(), "s3cr3tkey") || !strings.Contains(err.Error(), "SENTRY_DSN") {
		t.Errorf("error = %v, want one that names SENTRY_DSN and not its value", err)
	}
}
