// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// startRedis starts a server; unlimited lifts the limit of a subscriber's backlog.
func startRedis(unlimited bool) (*integration.Process, int) {
	port := kit.Must(testenv.FreePort())
	var settings []string
	if unlimited {
		settings = []string{"--client-output-buffer-limit", "pubsub 0 0 0"}
	}
	return kit.Must(integration.Redis(nil, port, settings...)), port
}

func redisURL(port int) string { return fmt.Sprintf("redis://127.0.0.1:%d/0", port) }

// onRedis starts an exporter on a Redis of its own, and returns that one's port and how to stop
// both.
func (b *bench) onRedis(args ...string) (e *exporter, port int, stop func()) {
	redis, port := startRedis(false)
	if err := kit.Try(func() { e = b.start(redisURL(port), args...) }); err != nil {
		redis.Kill()
		kit.Check(err)
	}
	return e, port, func() { e.Kill(); redis.Kill() }
}

// exporter is the program that is measured.
type exporter struct {
	*integration.Process
	url string
}

// start starts the exporter on a broker and waits until it is subscribed.
func (b *bench) start(broker string, args ...string) *exporter {
	e := b.launch(broker, args...)
	ready := func() bool { return kit.Try(func() { e.get("/ready", "identity") }) == nil }
	if err := integration.WaitFor("the exporter is ready", time.Minute, ready); err != nil {
		e.Kill()
		kit.Check(err)
	}
	return e
}

func (b *bench) launch(broker string, args ...string) *exporter {
	port := strconv.Itoa(kit.Must(testenv.FreePort()))
	args = append([]string{b.program, "--broker-url", broker, "--host", "127.0.0.1", "--port", port}, args...)
	if b.group != nil {
		args = b.group.Command(args...)
	}
	return &exporter{kit.Must(integration.Start(nil, nil, args...)), "http://127.0.0.1:" + port}
}

// get reads a page as it is sent.
func (e *exporter) get(path, encoding string) []byte {
	request := kit.Must(http.NewRequest(http.MethodGet, e.url+path, nil))
	request.Header.Set("Accept-Encoding", encoding)
	response := kit.Must(http.DefaultTransport.RoundTrip(request))
	defer response.Body.Close()
	body, got := kit.Must(io.ReadAll(response.Body)), response.Header.Get("Content-Encoding")
	if response.StatusCode != http.StatusOK || (got == "gzip") != (encoding == "gzip") {
		kit.Check(fmt.Errorf("get %s: %s, content encoding %q", path, response.Status, got))
	}
	return body
}

// sum is the sum of a metric's samples, those with some labels.
func (e *exporter) sum(metric string, labels ...string) float64 {
	return testenv.ReadSamples(string(e.get("/metrics", "identity"))).Sum(metric, labels...)
}

// cpu is the seconds of processor time used so far (proc_pid_stat(5): utime and stime, in
// hundredths).
func (e *exporter) cpu() float64 {
	stat := string(kit.Must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.PID))))
	// The second field is the program's name, which may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return float64(kit.Must(strconv.Atoi(fields[11]))+kit.Must(strconv.Atoi(fields[12]))) / 100
}

// memory is a line of /proc/PID/status, such as VmRSS, in MiB.
func (e *exporter) memory(line string) float64 {
	return float64(kit.Must(testenv.Memory(e.PID, line))) / (1 << 20)
}

// worked waits until all events of tasks were counted, or no more are for a while. It returns how
// many were, and at which rate since a moment, in events/s.
func (e *exporter) worked(events int, began time.Time) (counted, rate float64) {
	for changed := time.Now(); time.Since(changed) < 5*time.Second; time.Sleep(200 * time.Millisecond) {
		got := 0.0
		for series, value := range testenv.ReadSamples(string(e.get("/metrics", "identity"))) {
			if strings.HasPrefix(series, `celery_exporter_events_total{type="task-`) {
				got += value
			}
		}
		if got > counted {
			counted, rate, changed = got, got/time.Since(began).Seconds(), time.Now()
		}
		if got >= float64(events) {
			break
		}
	}
	return counted, rate
}

// lost is how many of the events of tasks are not counted.
func (e *exporter) lost(events int) float64 {
	counted, _ := e.worked(events, time.Now())
	return float64(events) - counted
}
