// SPDX-License-Identifier: Apache-2.0

// Command exporter measures the task exporter on a real Redis and a real RabbitMQ, and prints a
// table of figures and of the bars that they are held against. It exits with status 1 if a bar is
// missed or something goes wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/cgroup"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/taskevents"
	"obstack.dev/obstack/test/testenv"
)

// bench holds what all measurements share.
type bench struct {
	*kit.Figures
	dir     string // goes at the end
	program string
	seconds float64
	group   *cgroup.Group // that exporters run in, nil for none
}

func main() { os.Exit(kit.Main(run)) }

func run(ctx context.Context, figures *kit.Figures) {
	b := &bench{Figures: figures}
	flag.Float64Var(&b.seconds, "seconds", 60, "length of each run at a constant rate")
	parts := kit.Parts{
		{"footprint", b.footprint}, {"quiet", b.onRedis(b.quiet)}, {"sustained", b.sustained}, {"drain", b.drain},
		{"overload", b.onRedis(b.overload)}, {"memory", b.onRedis(b.manyTasks)}, {"scrapes", b.scrapes},
		{"churn", b.onRedis(b.churn, "--purge-offline-worker-metrics", fmt.Sprint(purge))},
		{"broadcasts", b.onRedis(b.broadcasts, "--inspect-interval", "1")}, {"refused", b.refused},
		{"rabbitmq", b.rabbitMQ},
	}.Chosen()
	b.dir = kit.Must(os.MkdirTemp("", "bench-exporter"))
	defer os.RemoveAll(b.dir)
	b.program = kit.Must(testenv.BuildExporter(ctx, b.dir))
	parts.Run()
}

// server is a Redis. Servers and exporters that nobody stops end with this program.
type server struct {
	*integration.Process
	address string
}

func startRedis(settings ...string) server {
	port := kit.Must(testenv.FreePort())
	return server{kit.Must(integration.Redis(nil, port, settings...)), fmt.Sprintf("127.0.0.1:%d", port)}
}

func (s server) url() string { return "redis://" + s.address + "/0" }

func (s server) publish(blocks []taskevents.Block, events int, rate float64) (sent int) {
	return kit.Must(taskevents.ToRedis(s.address, blocks, events, rate))
}

func (s server) client(password string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.address, Protocol: 2, Password: password})
}

const (
	// streamEvents is the length of a stream that is played again and again: 150,000 tasks, nine
	// times as many finished ones as the exporter keeps.
	streamEvents = 600_000
	// blockEvents is how many events a block has, about: at 100,000 events/s, ten milliseconds' worth.
	blockEvents = 1000
)

func messages(s taskevents.Shape, events int) []taskevents.Message {
	return taskevents.NewGenerator(s).Stream(events)
}

func blocks(s taskevents.Shape, events int) []taskevents.Block {
	return taskevents.Blocks(messages(s, events), blockEvents)
}

// startRabbit starts a RabbitMQ whose output is in a log, and returns how to stop it.
func (b *bench) startRabbit() (rabbit *integration.RabbitMQ, log string, stop func()) {
	dir := kit.Must(os.MkdirTemp(b.dir, "rabbitmq"))
	rabbit = kit.Must(integration.NewRabbitMQ(dir))
	// Its schedulers do not wait busily for work, as its guide advises where others need the
	// processors (https://www.rabbitmq.com/docs/runtime#cpu-reduce-idle-usage).
	rabbit.Erlang = "+sbwt none +sbwtdcpu none +sbwtdio none"
	output := kit.Must(os.Create(filepath.Join(dir, "output.log")))
	process := kit.Must(rabbit.Start(output))
	return rabbit, output.Name(), func() { process.Kill(); rabbit.Close(); output.Close() }
}

// exporter is the program that is measured.
type exporter struct {
	*integration.Process
	url string
}

// onRedis is a measurement of an exporter on a Redis of its own.
func (b *bench) onRedis(measure func(*exporter, server), args ...string) func() {
	return func() {
		redis := startRedis()
		defer redis.Kill()
		e := b.start(redis.url(), args...)
		defer e.Kill()
		measure(e, redis)
	}
}

// start starts the exporter on a broker and waits until it is subscribed.
func (b *bench) start(broker string, args ...string) *exporter {
	e := b.launch(broker, args...)
	ready := func() bool { return kit.Try(func() { e.get("/ready", "identity") }) == nil }
	kit.Check(integration.WaitFor("the exporter is ready", time.Minute, ready))
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

func (e *exporter) samples() testenv.Samples {
	return testenv.ReadSamples(string(e.get("/metrics", "identity")))
}

// sum is the sum of a metric's samples, those with some labels.
func (e *exporter) sum(metric string, labels ...string) float64 {
	return e.samples().Sum(metric, labels...)
}

// cpu is the seconds of processor time used so far.
func (e *exporter) cpu() float64 { return kit.Must(kit.Must(procfs.NewProc(e.PID)).Stat()).CPUTime() }

// memory is what Linux counts, in bytes.
func (e *exporter) memory() procfs.ProcStatus {
	return kit.Must(kit.Must(procfs.NewProc(e.PID)).NewStatus())
}

// resident is the resident memory in MiB.
func (e *exporter) resident() float64 { return kit.MiB(e.memory().VmRSS) }

// perThousand is the milliseconds of processor time for 1,000 events, of a time and events since.
func (e *exporter) perThousand(since float64, events int) float64 {
	return (e.cpu() - since) * 1e6 / float64(events)
}

// worked waits until all events of tasks were counted, or no more are for a while. It returns how
// many were, and at which rate since a moment, in events/s.
func (e *exporter) worked(events int, began time.Time) (counted, rate float64) {
	for changed := time.Now(); time.Since(changed) < 5*time.Second; time.Sleep(200 * time.Millisecond) {
		got := 0.0
		for series, value := range e.samples() {
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

// losses is how the exporter itself reports a loss.
func (e *exporter) losses() string {
	return fmt.Sprintf("%.0f messages counted as dropped, %.0f reconnects",
		e.sum("celery_exporter_dropped_total", `reason="backlog"`), e.sum("celery_exporter_reconnects_total"))
}
