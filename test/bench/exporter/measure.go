// SPDX-License-Identifier: Apache-2.0

package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// footprint measures size, start and idle memory.
func (b *bench) footprint() {
	info, err := os.Stat(b.exporter)
	check(err)
	b.figure("binary", "MiB", float64(info.Size())/(1<<20), bar{})
	redis := startRedis(false)
	defer stop(redis.command)
	began := time.Now()
	e := startExporter(b.exporter, redis.url0())
	defer stop(e.command)
	e.sum("celery_")
	b.figure("start to first scrape", "s", time.Since(began).Seconds(), bar{})
	time.Sleep(2 * time.Second)
	b.figure("memory idle (RSS)", "MiB", e.memory("VmRSS"), bar{12, false})
	// At this rate wake-ups are what costs, so each task's message goes out by itself.
	small := renderBy(newGenerator(usual).stream(int(1000*b.seconds)), 1)
	cpu, began := e.cpu(), time.Now()
	publishRedis(redis.port, small, 1000)
	b.figure("CPU at 1,000 events/s", "% of a core", 100*(e.cpu()-cpu)/time.Since(began).Seconds(), bar{3, false})
}

func (p program) url0() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", p.port) }

// sustainedRedis finds the highest of some rates that is sustained without a loss, scraped now and then.
func (b *bench) sustainedRedis() {
	best := 0.0
	for _, rate := range []float64{50_000, 100_000, 150_000, 200_000, 250_000} {
		redis := startRedis(false)
		e := startExporter(b.exporter, redis.url0())
		blocks := render(newGenerator(usual).stream(int(rate * b.seconds)))
		done := scrapeNowAndThen(e)
		began := time.Now()
		sent := publishRedis(redis.port, blocks, rate)
		reached := float64(sent) / time.Since(began).Seconds()
		lost := float64(sent) - counted(e, sent)
		close(done)
		b.figure(fmt.Sprintf("Redis at %.0f events/s: sent", rate), "events/s", reached, bar{})
		b.figure(fmt.Sprintf("Redis at %.0f events/s: lost", rate), "events", lost, bar{})
		if lost > 0 {
			b.figure("  of them dropped and counted, in messages", "", e.sum("celery_exporter_dropped_total"), bar{})
			b.figure("  subscriptions lost", "", e.sum("celery_exporter_reconnects_total"), bar{})
		}
		stop(e.command)
		stop(redis.command)
		if lost == 0 {
			best = max(best, reached)
		}
	}
	b.figure("sustained on Redis, no loss", "events/s", best, bar{98_000, true})
}

// scrapeNowAndThen scrapes until the channel is closed.
func scrapeNowAndThen(e program) chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(15 * time.Second):
				e.sum("celery_worker_up")
			}
		}
	}()
	return done
}

// burst is the events of a saturated run.
const burst = 300_000

// drain measures how fast a stream is worked off that Redis holds ready, beside a plain reader of the same stream.
func (b *bench) drain() {
	redis := startRedis(true)
	defer stop(redis.command)
	for _, single := range []bool{false, true} {
		s := usual
		s.single = single
		kind := map[bool]string{false: "lists", true: "single events"}[single]
		blocks := render(newGenerator(s).stream(burst))
		bytes, events := 0, 0
		for _, block := range blocks {
			bytes += len(block.data)
			events += block.events
		}
		plain := b.drainPlain(redis, blocks, events)
		e := startExporter(b.exporter, redis.url0(), "--max-backlog-bytes", "1000000000")
		cpu, began := e.cpu(), time.Now()
		publishRedis(redis.port, blocks, 0)
		for e.sum("celery_exporter_events_total{type=\"task-") < float64(events) {
			time.Sleep(200 * time.Millisecond)
		}
		rate := float64(events) / time.Since(began).Seconds()
		b.figure("wire bytes an event, "+kind, "", float64(bytes)/float64(events), bar{})
		b.figure("plain go-redis reader, same decoder, "+kind, "events/s", plain, bar{})
		b.figure("drained from Redis, "+kind, "events/s", rate, bar{100_000, true})
		b.figure("of the plain reader, "+kind, "", rate/plain, bar{0.7, true})
		b.figure("CPU per 1,000 events, saturated, "+kind, "ms", (e.cpu()-cpu)*1e6/float64(events), bar{10, false})
		stop(e.command)
	}
}

// overload sends as fast as it goes for a while, which is more than can be worked off, with the usual limits.
func (b *bench) overload() {
	redis := startRedis(false)
	defer stop(redis.command)
	e := startExporter(b.exporter, redis.url0())
	defer stop(e.command)
	sent := 0
	for began := time.Now(); time.Since(began).Seconds() < b.seconds; {
		sent += publishRedis(redis.port, render(newGenerator(usual).stream(burst)), 0)
	}
	got := counted(e, sent)
	b.figure("overload: events sent", "", float64(sent), bar{})
	b.figure("overload: events counted", "%", 100*got/float64(sent), bar{})
	b.figure("overload: messages dropped and counted", "", e.sum("celery_exporter_dropped_total"), bar{})
	b.figure("overload: subscriptions lost", "", e.sum("celery_exporter_reconnects_total"), bar{})
	b.figure("overload: peak memory", "MiB", e.memory("VmHWM"), bar{})
	after := publishRedis(redis.port, render(newGenerator(usual).stream(1000)), 0)
	b.figure("overload: caught up, events lost afterwards", "", got+float64(after)-counted(e, int(got)+after), bar{0.5, false})
}

// manyTasks measures memory after a million events of a quarter of a million tasks.
func (b *bench) manyTasks() {
	redis := startRedis(false)
	defer stop(redis.command)
	e := startExporter(b.exporter, redis.url0())
	defer stop(e.command)
	g := newGenerator(usual)
	sent := 0
	for sent < 1_000_000 {
		sent += publishRedis(redis.port, render(g.stream(100_000)), 50_000)
	}
	b.figure("memory after 1 M events (RSS)", "MiB", e.memory("VmRSS"), bar{60, false})
	b.figure("lost of 1 M events", "", float64(sent)-counted(e, sent), bar{0.5, false})
}

// scrapes measures /metrics with many series, while nothing else happens.
func (b *bench) scrapes() {
	for _, tc := range []struct {
		shape shape
		limit float64
	}{{shape{names: 50, workers: 20}, 0.1}, {shape{names: 1000, workers: 20}, 2.5}} {
		redis := startRedis(false)
		e := startExporter(b.exporter, redis.url0(), "--max-series", "2000000")
		g := newGenerator(tc.shape)
		sent := 0
		for sent < 4*tc.shape.names*tc.shape.workers {
			sent += publishRedis(redis.port, render(g.stream(4*tc.shape.names*tc.shape.workers)), 50_000)
		}
		counted(e, sent)
		name := fmt.Sprintf("scrape %d names x %d workers", tc.shape.names, tc.shape.workers)
		b.figure(name+": series", "", e.sum("celery_exporter_series "), bar{})
		for _, zipped := range []bool{false, true} {
			took, size := scrape(e, zipped)
			label := map[bool]string{false: "", true: ", gzip"}[zipped]
			b.figure(name+label, "s", took.Seconds(), bar{tc.limit, false})
			b.figure(name+label+": size", "MB", float64(size)/1e6, bar{})
		}
		b.figure(name+": memory afterwards (RSS)", "MiB", e.memory("VmRSS"), bar{})
		stop(e.command)
		stop(redis.command)
	}
}

func scrape(e program, zipped bool) (time.Duration, int64) {
	request, err := http.NewRequest(http.MethodGet, e.url("/metrics"), nil)
	check(err)
	request.Header.Set("Accept-Encoding", map[bool]string{false: "identity", true: "gzip"}[zipped])
	began := time.Now()
	response, err := http.DefaultTransport.RoundTrip(request)
	check(err)
	defer response.Body.Close()
	size, err := io.Copy(io.Discard, response.Body)
	check(err)
	if zipped != (response.Header.Get("Content-Encoding") == "gzip") {
		panic(gzip.ErrHeader)
	}
	return time.Since(began), size
}

// sustainedRabbit measures RabbitMQ at the bar's rate and as fast as one publisher can.
func (b *bench) sustainedRabbit() {
	dir, err := os.MkdirTemp("", "bench-rabbitmq")
	check(err)
	defer os.RemoveAll(dir)
	server, epmd := startRabbit(dir)
	defer stop(epmd)
	defer stop(server.command)
	for _, rate := range []float64{20_000, 45_000, 0} {
		e := startExporter(b.exporter, fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d//", server.port))
		messages := newGenerator(usual).stream(int(max(rate, 40_000) * b.seconds))
		cpu, began := e.cpu(), time.Now()
		sent := publishRabbit(server.port, messages, rate)
		reached := float64(sent) / time.Since(began).Seconds()
		lost := float64(sent) - counted(e, sent)
		name := fmt.Sprintf("RabbitMQ at %.0f events/s", rate)
		if rate == 0 {
			name = "RabbitMQ, as fast as one publisher can"
		}
		b.figure(name+": sent", "events/s", reached, bar{})
		b.figure(name+": lost", "events", lost, bar{0.5, false})
		b.figure(name+": CPU per 1,000 events", "ms", (e.cpu()-cpu)*1e6/float64(sent), bar{})
		stop(e.command)
	}
}
