// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchange is one request, as the side that asked saw it.
type exchange struct {
	at time.Time // when the response was there
	// asked is how long the service was asked to take, took how long it did, as far as its client
	// can see.
	asked, took time.Duration
	status      int
}

// load asks a service at a constant rate and keeps every response.
type load struct {
	service
	mu        sync.Mutex
	exchanges []exchange
	problems  []error
}

// The requests go round in tens: two fail, five take between 250 and 500 ms, evenly spread over 25
// paths, and the rest little. All of that lies between boundaries that every framework's histogram
// has, so that the quantiles that Prometheus interpolates can be compared with what happened.
func (l *load) request(n int) (method, path string, asked time.Duration) {
	switch n % 10 {
	case 3, 8:
		return http.MethodGet, "/fail", 0
	case 1:
		return http.MethodPost, "/orders", 0
	case 0, 5:
		return http.MethodGet, "/items/" + strconv.Itoa(n%7), 0
	default:
		milliseconds := 255 + 10*int(25*spread(n))
		return http.MethodGet, "/slow/" + strconv.Itoa(milliseconds), time.Duration(milliseconds) * time.Millisecond
	}
}

// spread is the van der Corput sequence: its first n values fill 0 to 1 evenly, for any n.
func spread(n int) float64 {
	value, step := 0.0, 0.5
	for ; n > 0; n /= 2 {
		value += step * float64(n%2)
		step /= 2
	}
	return value
}

func (l *load) run(until time.Time) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	ticks := time.NewTicker(time.Second / time.Duration(l.rate))
	defer ticks.Stop()
	var pending sync.WaitGroup
	defer pending.Wait()
	for n := 0; time.Now().Before(until); n++ {
		<-ticks.C
		pending.Go(func() { l.ask(client, n) })
	}
}

func (l *load) ask(client *http.Client, n int) {
	method, path, asked := l.request(n)
	request, err := http.NewRequest(method, l.url+path, http.NoBody)
	if err != nil {
		panic(err) // a mistake of this file
	}
	// Neither opening a connection nor waiting for one is the service's time.
	var began, ended time.Time
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { began = time.Now() },
		GotFirstResponseByte: func() { ended = time.Now() },
	}))
	response, err := client.Do(request)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.problems = append(l.problems, err)
		return
	}
	response.Body.Close()
	l.exchanges = append(l.exchanges, exchange{ended, asked, ended.Sub(began), response.StatusCode})
}

// seen is what happened in a window, as the dashboards should show it.
type seen struct {
	rate, errorRatio float64
	// p95 of what the service was asked to take, and of what it took for its client, in seconds.
	// Without other work on the machine they differ by little; the service's own figure lies
	// between them.
	p95Asked, p95Took float64
}

func (l *load) seen(end time.Time, window time.Duration) seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	var asked, took []float64
	failed := 0
	for _, a := range l.exchanges {
		if a.at.After(end.Add(-window)) && !a.at.After(end) {
			asked, took = append(asked, a.asked.Seconds()), append(took, a.took.Seconds())
			if a.status >= http.StatusInternalServerError {
				failed++
			}
		}
	}
	slices.Sort(asked)
	slices.Sort(took)
	return seen{
		rate:       float64(len(asked)) / window.Seconds(),
		errorRatio: float64(failed) / float64(len(asked)),
		p95Asked:   asked[len(asked)*95/100],
		p95Took:    took[len(took)*95/100],
	}
}

// publish sends tasks for some seconds.
func (c celery) publish(seconds int) error {
	command := exec.Command(c.python, "testdata/tasks.py", strconv.Itoa(seconds))
	command.Env = append(command.Environ(), c.env()...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("tasks.py: %w: %s", err, output)
	}
	return nil
}

// finished counts the tasks that ended within a window, by outcome, as they wrote it down
// themselves. How many that are depends on how fast they were sent, which a busy machine does not
// do evenly.
func (c celery) finished(t *testing.T, end time.Time, window time.Duration) map[string]float64 {
	t.Helper()
	content, err := os.ReadFile(c.done)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for text := range strings.Lines(string(content)) {
		var at float64
		var outcome string
		if _, err := fmt.Sscan(text, &at, &outcome); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if age := float64(end.UnixMilli())/1000 - at; age >= 0 && age < window.Seconds() {
			counts[outcome]++
		}
	}
	return counts
}

// sendLoad loads the services and the workers, and returns with the load still on, once the given
// time has passed.
func sendLoad(t *testing.T, services []service, workers celery, lasts time.Duration) []*load {
	t.Helper()
	const tail = 5 * time.Second // what is asked for afterwards is asked under load
	until := time.Now().Add(lasts + tail)
	var loads []*load
	var running sync.WaitGroup
	for _, s := range services {
		l := &load{service: s}
		loads = append(loads, l)
		running.Go(func() { l.run(until) })
	}
	running.Go(func() {
		if err := workers.publish(int((lasts + tail).Seconds())); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	time.Sleep(lasts)
	return loads
}
