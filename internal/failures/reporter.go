// SPDX-License-Identifier: Apache-2.0

// Package failures reports the operator's own panics, and errors that keep
// recurring, to Sentry, if SENTRY_DSN is set.
package failures

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"
	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// recurring is the number of failures of one object in a row that are
	// reported; fewer pass by themselves, as when the API server restarts.
	recurring = 5
	// flushTimeout bounds how long the end of the process waits for Sentry.
	flushTimeout = 2 * time.Second
	// reportsPerMinute bounds what is sent, over all objects.
	reportsPerMinute = 10
)

// Reporter reports to Sentry. Without a DSN it does nothing.
type Reporter struct {
	hub     *sentry.Hub
	limiter *rate.Limiter

	mu     sync.Mutex
	streak map[reconcile.Request]int
}

// NewReporter reads SENTRY_DSN, SENTRY_ENVIRONMENT and SENTRY_RELEASE. The
// release is the operator's version if it is not set.
func NewReporter(getenv func(string) string, version string) (*Reporter, error) {
	r := &Reporter{
		limiter: rate.NewLimiter(rate.Every(time.Minute/reportsPerMinute), reportsPerMinute),
		streak:  map[reconcile.Request]int{},
	}
	dsn := getenv("SENTRY_DSN")
	if dsn == "" {
		return r, nil
	}
	release := getenv("SENTRY_RELEASE")
	if release == "" {
		release = "obstack@" + version
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: dsn, Environment: getenv("SENTRY_ENVIRONMENT"), Release: release,
		AttachStacktrace: true,
		BeforeSend:       func(event *sentry.Event, _ *sentry.EventHint) *sentry.Event { return scrub(event) },
	})
	if err != nil {
		// The parser's error quotes the DSN.
		return nil, errors.New(
			"SENTRY_DSN does not hold a Sentry DSN: write https://PUBLIC_KEY@HOST/PROJECT_NUMBER, or unset it")
	}
	r.hub = sentry.NewHub(client, sentry.NewScope())
	return r, nil
}

// Wrap reports the panics of a reconciler, which go on, and the errors that recur.
func (r *Reporter) Wrap(next reconcile.Reconciler) reconcile.Reconciler {
	if r.hub == nil {
		return next
	}
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		defer func() {
			if p := recover(); p != nil {
				r.send(req, func(hub *sentry.Hub) { hub.Recover(p) })
				panic(p)
			}
		}()
		result, err := next.Reconcile(ctx, req)
		if n := r.count(req, err); isReported(n) {
			r.send(req, func(hub *sentry.Hub) { hub.CaptureException(fmt.Errorf("failed %d times in a row: %w", n, err)) })
		}
		return result, err
	})
}

// Flush sends what is waiting.
func (r *Reporter) Flush() {
	if r.hub != nil {
		r.hub.Flush(flushTimeout)
	}
}

// count returns how many times in a row the object has failed.
func (r *Reporter) count(req reconcile.Request, err error) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.streak, req)
		return 0
	}
	r.streak[req]++
	return r.streak[req]
}

// isReported spaces the reports of one object out: the 5th failure, the 50th, the 500th and on.
func isReported(n int) bool {
	for ; n > recurring && n%10 == 0; n /= 10 {
		continue
	}
	return n == recurring
}

func (r *Reporter) send(req reconcile.Request, capture func(*sentry.Hub)) {
	if !r.limiter.Allow() {
		return
	}
	hub := r.hub.Clone()
	hub.Scope().SetTag("namespace", req.Namespace)
	hub.Scope().SetTag("name", req.Name)
	capture(hub)
}

// scrub masks what must not leave the cluster. Our errors hold no Secret values;
// those of libraries may quote a URL.
func scrub(event *sentry.Event) *sentry.Event {
	event.Message = withoutCredentials(event.Message)
	for i := range event.Exception {
		event.Exception[i].Value = withoutCredentials(event.Exception[i].Value)
	}
	return event
}

// web matches the scheme of a URL that needs no password.
var web = regexp.MustCompile(`(?i)(^|[^a-z0-9+.-])https?$`)

// withoutCredentials cuts a text off behind the scheme of the first URL that may hold a password:
// one of another scheme than http, or with an @ anywhere behind it. Where a password ends, nobody
// can see in a URL that was refused because of its special characters.
func withoutCredentials(text string) string {
	for start := 0; ; {
		i := strings.Index(text[start:], "://")
		if i < 0 {
			return text
		}
		scheme := text[start : start+i]
		start += i + len("://")
		if !web.MatchString(scheme) || strings.Contains(text[start:], "@") {
			return text[:start] + "***"
		}
	}
}
