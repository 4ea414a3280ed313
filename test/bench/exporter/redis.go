// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/wire"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/cgroup"
)

// footprint measures size and idle memory: what a container is charged for, and what the process
// has mapped, which is more by the pages of the program.
func (b *bench) footprint() {
	group, err := cgroup.New(0)
	if err == nil {
		b.group = group
		defer func() {
			b.group = nil
			kit.Check(group.Remove())
		}()
	} else {
		kit.Progress("the working set is not measured: %v", err)
	}
	e, _, stop := b.onRedis()
	defer stop()
	time.Sleep(2 * time.Second)
	if group != nil {
		b.Most("memory idle (working set)", float64(kit.Must(group.WorkingSet()))/(1<<20), "MiB", 12)
	}
	b.Most("memory idle (RSS)", e.memory("VmRSS"), "MiB", 12, "%.1f of its own", e.memory("RssAnon"))
	e.sum("celery_worker_up")
	b.Note("… after a scrape", e.memory("VmRSS"), "MiB")
	b.Note("binary", float64(kit.Must(os.Stat(b.program)).Size())/(1<<20), "MiB")
}

// quiet measures the processor's time at a rate at which wake-ups are what costs, so each message
// goes out by itself.
func (b *bench) quiet() {
	e, port, stop := b.onRedis()
	defer stop()
	blocks := render(newGenerator(usual).stream(100_000), 1)
	time.Sleep(2 * time.Second)
	before, began := e.cpu(), time.Now()
	publishRedis(port, blocks, int(1000*b.seconds), 1000)
	b.Most("CPU at 1,000 events/s", 100*(e.cpu()-before)/time.Since(began).Seconds(), "% of a core", 3)
}

// sustained finds the highest of some rates that is sustained without a loss, scraped now and then.
func (b *bench) sustained() {
	blocks := render(newGenerator(usual).stream(streamEvents), blockEvents)
	best := 0.0
	for _, rate := range []float64{50_000, 100_000, 150_000, 200_000, 250_000} {
		if reached, lost := b.sustain(rate, blocks); lost == 0 {
			best = max(best, reached)
		}
	}
	b.Least("sustained on Redis, no loss", best, "events/s", 99_000)
}

func (b *bench) sustain(rate float64, blocks []block) (reached, lost float64) {
	e, port, stop := b.onRedis()
	defer stop()
	ctx, done := context.WithCancel(context.Background())
	go func() {
		for kit.Try(func() { kit.Pause(ctx, 15*time.Second) }) == nil {
			_ = kit.Try(func() { e.get("/metrics", "identity") }) // only the work counts
		}
	}()
	before, began := e.cpu(), time.Now()
	sent := publishRedis(port, blocks, int(rate*b.seconds), rate)
	reached = float64(sent) / time.Since(began).Seconds()
	done()
	lost = e.lost(sent)
	b.Note(fmt.Sprintf("Redis at %.0f events/s: CPU per 1,000 events", rate), (e.cpu()-before)*1e6/float64(sent), "ms",
		"%.0f events/s sent, %.0f lost, %s", reached, lost, e.losses())
	return reached, lost
}

// losses is how the exporter itself reports a loss.
func (e *exporter) losses() string {
	return fmt.Sprintf("%.0f messages counted as dropped, %.0f reconnects",
		e.sum("celery_exporter_dropped_total", `reason="backlog"`), e.sum("celery_exporter_reconnects_total"))
}

// drain measures how fast a stream is worked off that Redis holds ready, beside a plain reader of
// the same stream.
func (b *bench) drain() {
	redis, port := startRedis(true)
	defer redis.Kill()
	for _, kind := range []string{"lists", "single events"} {
		s := shape{usual.names, usual.workers, kind != "lists"}
		blocks := render(newGenerator(s).stream(streamEvents), blockEvents)
		plain := drainPlain(port, blocks)
		e := b.start(redisURL(port), "--max-backlog-bytes", "1000000000")
		before, began := e.cpu(), time.Now()
		sent := publishRedis(port, blocks, streamEvents, 0)
		_, rate := e.worked(sent, began)
		cpu := (e.cpu() - before) * 1e6 / float64(sent)
		e.Kill()
		b.Least("drained from Redis, "+kind, rate, "events/s", 100_000)
		b.Least("… of a plain go-redis reader with the same decoder", rate/plain, "times", 0.7, "%.0f events/s", plain)
		b.Most("… CPU per 1,000 events", cpu, "ms", 10)
	}
}

// drainPlain is the rate at which go-redis and the same decoder work off a stream, and do nothing
// with the events.
func drainPlain(port int, blocks []block) float64 {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Protocol: 2})
	defer client.Close()
	sub := client.PSubscribe(ctx, "/0.celeryev/*")
	kit.Must(sub.Receive(ctx))
	published := make(chan error, 1)
	began := time.Now()
	go func() { published <- kit.Try(func() { publishRedis(port, blocks, streamEvents, 0) }) }()
	var decoder wire.Decoder
	events := 0
	for events < streamEvents {
		message := kit.Must(sub.ReceiveMessage(ctx))
		list, _, err := decoder.Decode([]byte(message.Payload), wire.Format{Enveloped: true})
		kit.Check(err)
		events += len(list)
	}
	rate := float64(events) / time.Since(began).Seconds()
	kit.Check(<-published)
	return rate
}

// overload sends as fast as it goes for a while, which is more than can be worked off.
func (b *bench) overload() {
	e, port, stop := b.onRedis()
	defer stop()
	blocks := render(newGenerator(usual).stream(streamEvents), blockEvents)
	sent, began := 0, time.Now()
	for time.Since(began).Seconds() < b.seconds {
		sent += publishRedis(port, blocks, streamEvents, 0)
	}
	rate := float64(sent) / time.Since(began).Seconds()
	got, counted := e.worked(sent, began)
	b.Note("overload: counted", counted, "events/s",
		"%.0f events/s sent, %s, at most %.0f MiB", rate, e.losses(), e.memory("VmHWM"))
	after := publishRedis(port, blocks, 10_000, 10_000)
	b.Most("… lost after it has caught up", e.lost(int(got)+after), "events", 0)
}

// manyTasks measures memory after a million events of a quarter of a million tasks.
func (b *bench) manyTasks() {
	e, port, stop := b.onRedis()
	defer stop()
	g, sent := newGenerator(usual), 0
	for sent < 1_000_000 {
		sent += publishRedis(port, render(g.stream(100_000), blockEvents), 100_000, 50_000)
	}
	b.Most("memory after 1 M events of 250,000 tasks (RSS)", e.memory("VmRSS"), "MiB", 60)
	b.Most("… lost of them", e.lost(sent), "events", 0)
}

// scrapes measures /metrics with many series, while nothing else happens.
func (b *bench) scrapes() {
	for _, names := range []int{50, 1000} {
		limit := map[int]float64{50: 0.1, 1000: 2.5}[names]
		e, port, stop := b.onRedis("--max-series", "2000000")
		blocks := render(newGenerator(shape{names: names, workers: 20}).stream(4*names*20), blockEvents)
		e.lost(publishRedis(port, blocks, 4*names*20, 50_000))
		for _, encoding := range []string{"identity", "gzip"} {
			began := time.Now()
			size := float64(len(e.get("/metrics", encoding))) / 1e6
			took := time.Since(began).Seconds()
			name := fmt.Sprintf("scrape of %.0f series, %s", e.sum("celery_exporter_series"), encoding)
			b.Most(name, took, "s", limit, "%.2f MB", size)
		}
		b.Note("… memory afterwards (RSS)", e.memory("VmRSS"), "MiB")
		stop()
	}
}
