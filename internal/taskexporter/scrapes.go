// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// scrapeSlack is how much later than usual a scrape may come.
	scrapeSlack = 3 * time.Second
	// usualGap is expected before and after the first scrape, and rareScrapes are farther apart than
	// anybody waits for.
	usualGap, rareScrapes = time.Minute, 2 * time.Minute
)

// scrapes keeps when Prometheus scraped, so that an exporter that ends knows when its last count
// was seen.
type scrapes struct {
	start time.Time // of the exporter

	mu   sync.Mutex
	last time.Time // when the last one began
	// gaps are those between the last ones, of which several servers make short and long ones, and
	// count is how many were seen.
	gaps  [4]time.Duration
	count int
	// prometheus is set once one came that Prometheus made. Then others, such as a person's, are no
	// scrapes.
	prometheus bool
}

// note is called after a response, with the time when it began.
func (s *scrapes) note(r *http.Request, began time.Time) {
	if r.Method != http.MethodGet || r.Context().Err() != nil {
		return // nobody has read it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Prometheus and its agents send this with each scrape.
	if r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") != "" {
		s.prometheus = true
	} else if s.prometheus {
		return
	}
	gap := usualGap
	if !s.last.IsZero() {
		gap = min(began.Sub(s.last), rareScrapes)
	}
	s.gaps[s.count%len(s.gaps)] = gap
	s.last = began
	s.count++
}

// seen reports whether a scrape began after a moment, or none is to be expected.
func (s *scrapes) seen(since, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 { // an exporter may be replaced before anybody scrapes it
		return now.Sub(s.start) >= usualGap+scrapeSlack
	}
	return s.last.After(since) || now.Sub(s.last) >= slices.Max(s.gaps[:])+scrapeSlack
}
