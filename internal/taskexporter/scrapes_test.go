// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// scraped reports whether a request counts as a scrape.
func scraped(b *bench, method, path string, cancelled bool, header ...string) bool {
	since := time.Now()
	time.Sleep(time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cancelled {
		cancel()
	}
	request := httptest.NewRequestWithContext(ctx, method, path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	b.Handler().ServeHTTP(httptest.NewRecorder(), request)
	b.scrapes.mu.Lock()
	defer b.scrapes.mu.Unlock()
	return b.scrapes.last.After(since)
}

func TestScrapesAreThoseOfMetricsThatWereRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const ofPrometheus = "X-Prometheus-Scrape-Timeout-Seconds"
		if !scraped(b, "GET", "/metrics", false) {
			t.Error("a scrape is not seen")
		}
		for _, path := range []string{"/", "/status", "/health", "/ready", "/nothing"} {
			if scraped(b, "GET", path, false) || scraped(b, "GET", path, false, ofPrometheus, "10") {
				t.Errorf("GET %s is a scrape", path)
			}
		}
		if scraped(b, "HEAD", "/metrics", false) {
			t.Error("HEAD is a scrape")
		}
		if scraped(b, "GET", "/metrics", true) {
			t.Error("what nobody waited for is a scrape")
		}
		if !scraped(b, "GET", "/metrics", false, ofPrometheus, "10") {
			t.Error("a scrape of Prometheus is not seen")
		}
		if scraped(b, "GET", "/metrics", false) {
			t.Error("a person's request is a scrape, although Prometheus scrapes")
		}
	})
}

func TestScrapesAreExpectedAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scrapes{start: time.Now()}
		request := httptest.NewRequest("GET", "/metrics", nil)
		time.Sleep(usualGap)
		if s.seen(time.Now(), time.Now()) {
			t.Error("no first scrape is expected, although the exporter is young")
		}
		time.Sleep(scrapeSlack)
		if !s.seen(time.Now(), time.Now()) {
			t.Error("a first scrape is expected that never came")
		}
		// Two servers, one soon after the other.
		for range 3 {
			s.note(request, time.Now())
			time.Sleep(time.Second)
			s.note(request, time.Now())
			time.Sleep(14 * time.Second)
		}
		since := time.Now()
		if s.seen(since, time.Now()) {
			t.Error("nothing is expected 14 seconds after the last of those each 15")
		}
		time.Sleep(scrapeSlack)
		if !s.seen(since, time.Now()) {
			t.Error("a scrape is expected that is late")
		}
		s.note(request, time.Now())
		if !s.seen(since, time.Now()) {
			t.Error("the scrape is not seen")
		}
	})
}
