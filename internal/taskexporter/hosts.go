// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"time"

	"obstack.dev/obstack/internal/taskexporter/series"
)

// maxHosts bounds the hosts that are remembered.
const maxHosts = 50_000

// hosts remembers when each host was heard of, workers' and clients' alike, so that the series of those that are gone
// can be purged. It belongs to the tracker's goroutine.
type hosts struct {
	last      map[string]*time.Time
	lastSweep time.Time
}

func newHosts() *hosts { return &hosts{last: map[string]*time.Time{}} }

// seen notes a sign of a host and returns its label.
func (h *hosts) seen(host string, now time.Time) string {
	if at := h.last[host]; at != nil {
		*at = now
		return host
	}
	// Folded into one label, as series beyond their limit are.
	if len(h.last) >= maxHosts {
		return series.Overflow
	}
	h.last[host] = &now
	return host
}

func (h *hosts) forget(host string) { delete(h.last, host) }

// heardWithin reports whether the host gave a sign in that time.
func (h *hosts) heardWithin(host string, now time.Time, span time.Duration) bool {
	at := h.last[host]
	return at != nil && now.Sub(*at) <= span
}

// sweepInterval is how often idle hosts are looked for, because that looks at all hosts.
const sweepInterval = 10 * time.Second

// idle returns the hosts without a sign for that long; zero turns it off.
func (h *hosts) idle(now time.Time, span time.Duration) []string {
	if span <= 0 || now.Sub(h.lastSweep) < sweepInterval {
		return nil
	}
	h.lastSweep = now
	var idle []string
	for host, at := range h.last {
		if now.Sub(*at) > span {
			idle = append(idle, host)
		}
	}
	return idle
}
