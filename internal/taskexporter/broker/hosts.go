// SPDX-License-Identifier: Apache-2.0

package broker

import "sync/atomic"

// hosts are the servers of a broker that are tried in turn for events. Questions go to the one that
// the events come from: another may know nothing of these queues and workers.
type hosts struct {
	next    atomic.Uint32
	serving atomic.Pointer[string]
}

// following returns the next one to try for events.
func (h *hosts) following(all []string) string { return all[int(h.next.Add(1)-1)%len(all)] }

// serve notes that events come from there.
func (h *hosts) serve(host string) { h.serving.Store(&host) }

// asked returns the one for questions, empty before any served events.
func (h *hosts) asked() string {
	if host := h.serving.Load(); host != nil {
		return *host
	}
	return ""
}
