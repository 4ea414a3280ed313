// SPDX-License-Identifier: Apache-2.0

package taskexporter

import "time"

// hostState is what the labels of one host show.
type hostState struct {
	up     bool
	active float64
	// silence is the time since the last sign of life of a worker that has not said goodbye, the
	// longest of the host; negative if there is none.
	silence time.Duration
}

// queueWorkers is how many workers, and processes of theirs, consume a queue.
type queueWorkers struct{ workers, processes int }

// fleet is a picture of all workers at one moment.
type fleet struct {
	hosts  map[string]hostState
	queues map[string]queueWorkers
	// on, off and unknown are the live workers by whether they send events of tasks.
	on, off, unknown int
	// live workers, and how many of them named their queues and processes.
	live, named, sized int
}

// picture sums the workers up by host and by queue.
func (w *workers) picture(now time.Time) fleet {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := fleet{hosts: map[string]hostState{}, queues: map[string]queueWorkers{}}
	for _, k := range w.byNode {
		host, known := f.hosts[k.host]
		if !known {
			host.silence = -1
		}
		if !k.left {
			host.silence = max(host.silence, now.Sub(k.seen))
		}
		host.up = host.up || k.up
		host.active += k.active
		f.hosts[k.host] = host
		if k.up {
			f.count(k)
		}
	}
	return f
}

func (f *fleet) count(k *worker) {
	f.live++
	if k.named {
		f.named++
	}
	if k.sized {
		f.sized++
	}
	for _, queue := range k.queues {
		sum := f.queues[queue.Name]
		sum.workers++
		sum.processes += k.processes
		f.queues[queue.Name] = sum
	}
	switch {
	case k.silentFor >= silentBeats:
		f.off++
	case k.sends || k.sinceBeat:
		f.on++
	default:
		f.unknown++
	}
}

// eventsEnabled reports whether live workers send events of tasks; known is false while nothing
// shows it, because no worker has had a task yet.
func (f *fleet) eventsEnabled() (enabled, known bool) {
	return f.off == 0, f.on+f.off > 0
}

// consumersKnown reports whether anything is known of who consumes which queue: zero workers is a
// fact only if those that live have replied.
func (f *fleet) consumersKnown() bool { return f.live == 0 || f.named > 0 }

func (f *fleet) processesKnown() bool { return f.live == 0 || f.sized > 0 }
