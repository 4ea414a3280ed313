// SPDX-License-Identifier: Apache-2.0

package taskexporter

// hostState is what the labels of one host show.
type hostState struct {
	up     bool
	active float64
}

// queueWorkers is how many workers, and processes of theirs, consume a queue.
type queueWorkers struct{ workers, processes int }

// fleet is a picture of all workers at one moment.
type fleet struct {
	hosts  map[string]hostState
	queues map[string]queueWorkers
	// on, off and unknown are the live workers by whether they send events of tasks.
	on, off, unknown int
}

// picture sums the workers up by host and by queue.
func (w *workers) picture() fleet {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := fleet{hosts: map[string]hostState{}, queues: map[string]queueWorkers{}}
	for _, k := range w.byNode {
		host := f.hosts[k.host]
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

// eventsEnabled reports whether live workers send events of tasks; known is false while nothing tells, because no
// worker has had a task yet.
func (f *fleet) eventsEnabled() (enabled, known bool) {
	return f.off == 0, f.on+f.off > 0
}
