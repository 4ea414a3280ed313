// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"maps"
	"time"

	"obstack.dev/obstack/internal/taskexporter/series"
)

// maxHosts bounds the hosts that are stored, of workers and of clients each.
const maxHosts = 50_000

// hosts stores when each host was heard of, so that the series of those that are gone can be
// purged. Workers and clients have one each: a host may be both, and clients must not take the
// place of workers. It belongs to the tracker's goroutine.
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

// sweepInterval is how often idle hosts are looked for, because that looks at all hosts.
const sweepInterval = 10 * time.Second

// expire forgets the hosts without a sign for that long, unless they are kept, and returns them;
// zero turns it off.
func (h *hosts) expire(now time.Time, span time.Duration, kept func() map[string]bool) (idle map[string]bool) {
	if span <= 0 || now.Sub(h.lastSweep) < sweepInterval {
		return nil
	}
	h.lastSweep = now
	keep, idle := kept(), map[string]bool{}
	for host, at := range h.last {
		if now.Sub(*at) > span && !keep[host] {
			delete(h.last, host)
			idle[host] = true
		}
	}
	h.last = compact(h.last, len(idle))
	return idle
}

// compact returns a map without the room of what was deleted, if that is more than what is left.
func compact[K comparable, V any](m map[K]V, deleted int) map[K]V {
	if deleted <= len(m) {
		return m
	}
	return maps.Collect(maps.All(m))
}
