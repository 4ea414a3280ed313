// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// startRedis starts a server; unlimited lifts the limit of a subscriber's backlog.
func startRedis(unlimited bool) (server *integration.Process, port int, err error) {
	if port, err = testenv.FreePort(); err != nil {
		return nil, 0, err
	}
	var settings []string
	if unlimited {
		settings = []string{"--client-output-buffer-limit", "pubsub 0 0 0"}
	}
	server, err = integration.Redis(nil, port, settings...)
	return server, port, err
}

func redisURL(port int) string { return fmt.Sprintf("redis://127.0.0.1:%d/0", port) }

// onRedis starts an exporter on a Redis of its own, and returns that one's port and how to stop both.
func (b *bench) onRedis() (e *exporter, port int, stop func(), err error) {
	redis, port, err := startRedis(false)
	if err != nil {
		return nil, 0, nil, err
	}
	if e, err = b.startExporter(redisURL(port)); err != nil {
		redis.Kill()
		return nil, 0, nil, err
	}
	return e, port, func() { e.Kill(); redis.Kill() }, nil
}

// exporter is the program that is measured.
type exporter struct {
	*integration.Process
	port int
}

// startExporter starts the exporter on a broker and waits until it is subscribed.
func (b *bench) startExporter(broker string, args ...string) (*exporter, error) {
	port, err := testenv.FreePort()
	if err != nil {
		return nil, err
	}
	args = append([]string{b.program, "--broker-url", broker, "--host", "127.0.0.1", "--port", strconv.Itoa(port)}, args...)
	p, err := integration.Start(nil, nil, args...)
	if err != nil {
		return nil, err
	}
	e := &exporter{p, port}
	if err := integration.WaitFor("the exporter is ready", time.Minute, e.ready); err != nil {
		e.Kill()
		return nil, err
	}
	return e, nil
}

func (e *exporter) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", e.port, path) }

func (e *exporter) ready() bool {
	response, err := http.Get(e.url("/ready"))
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// cpu returns the seconds of CPU time used so far (proc_pid_stat(5): utime and stime, in hundredths).
func (e *exporter) cpu() (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.PID))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, which may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("read the CPU time: %w", err)
	}
	return float64(user+system) / 100, nil
}

// memory returns a line of /proc/PID/status, such as VmRSS, in MiB.
func (e *exporter) memory(line string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.PID))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "\n"+line+":")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("read %s: %w", line, err)
	}
	return float64(kib) / 1024, nil
}

// sum returns the sum of the samples whose line begins with a prefix.
func (e *exporter) sum(prefix string) (float64, error) {
	response, err := http.Get(e.url("/metrics"))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	total := 0.0
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), prefix) {
			continue
		}
		n, err := strconv.ParseFloat(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, lines.Err()
}

// tasks returns the events of tasks that were read.
func (e *exporter) tasks() (float64, error) { return e.sum(`celery_exporter_events_total{type="task-`) }

// counted waits until the exporter has counted that many events of tasks, or counts no more, and returns their number.
func (e *exporter) counted(events int) (float64, error) {
	last := -1.0
	for still := 0; still < 4; still++ {
		got, err := e.tasks()
		if err != nil || got >= float64(events) {
			return got, err
		}
		if got != last {
			still = 0
		}
		last = got
		time.Sleep(500 * time.Millisecond)
	}
	return last, nil
}

// worked waits until all events were counted and returns the rate, in events/s since a moment, at the last look before
// the end, because looks are rare: each is a scrape.
func (e *exporter) worked(events int, began time.Time) (float64, error) {
	rate, last, changed := 0.0, 0.0, began
	for time.Since(changed) < 20*time.Second {
		got, err := e.tasks()
		if err != nil {
			return 0, err
		}
		if got >= float64(events) {
			return max(rate, got/time.Since(began).Seconds()), nil
		}
		if got > last {
			last, changed = got, time.Now()
		}
		rate = got / time.Since(began).Seconds()
		time.Sleep(200 * time.Millisecond)
	}
	return 0, fmt.Errorf("%.0f of %d events are counted, and no more come", last, events)
}
