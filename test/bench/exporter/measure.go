// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// streamEvents is the length of a stream that is played again and again: 150,000 tasks, nine times what the exporter
// remembers of finished ones.
const streamEvents = 600_000

// footprint measures size, start and idle memory.
func (b *bench) footprint() error {
	info, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	b.figure("binary", "MiB", float64(info.Size())/(1<<20), bar{})
	redis, port, err := startRedis(false)
	if err != nil {
		return err
	}
	defer redis.Kill()
	began := time.Now()
	e, err := b.startExporter(redisURL(port))
	if err != nil {
		return err
	}
	defer e.Kill()
	if _, err := e.sum("celery_"); err != nil {
		return err
	}
	b.figure("start to first scrape", "s", time.Since(began).Seconds(), bar{})
	idle, err := b.startExporter(redisURL(port))
	if err != nil {
		return err
	}
	defer idle.Kill()
	time.Sleep(2 * time.Second)
	for _, tc := range []struct {
		name string
		bar  bar
	}{{"memory idle (RSS)", bar{12, false}}, {"memory idle, after a scrape", bar{}}} {
		memory, err := idle.memory("VmRSS")
		if err != nil {
			return err
		}
		b.figure(tc.name, "MiB", memory, tc.bar)
		if _, err := idle.sum("celery_"); err != nil {
			return err
		}
	}
	return nil
}

// quiet measures the processor's time at a rate at which wake-ups are what costs, so each message goes out by itself.
func (b *bench) quiet() error {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return err
	}
	defer stop()
	blocks := render(newGenerator(usual).stream(100_000), 1)
	time.Sleep(2 * time.Second)
	before, err := e.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := publishRedis(port, blocks, int(1000*b.seconds), 1000); err != nil {
		return err
	}
	used, err := e.cpu()
	b.figure("CPU at 1,000 events/s", "% of a core", 100*(used-before)/time.Since(began).Seconds(), bar{3, false})
	return err
}

// sustained finds the highest of some rates that is sustained without a loss, scraped now and then.
func (b *bench) sustained() error {
	blocks := render(newGenerator(usual).stream(streamEvents), blockEvents)
	best := 0.0
	for _, rate := range []float64{50_000, 100_000, 150_000, 200_000, 250_000} {
		reached, lost, err := b.sustain(rate, blocks)
		if err != nil {
			return err
		}
		if lost == 0 {
			best = max(best, reached)
		}
	}
	b.figure("sustained on Redis, no loss", "events/s", best, bar{99_000, true})
	return nil
}

func (b *bench) sustain(rate float64, blocks []block) (reached, lost float64, err error) {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	done := scrapeNowAndThen(e)
	before, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	sent, err := publishRedis(port, blocks, int(rate*b.seconds), rate)
	close(done)
	if err != nil {
		return 0, 0, err
	}
	reached = float64(sent) / time.Since(began).Seconds()
	got, err := e.counted(sent)
	if err != nil {
		return 0, 0, err
	}
	used, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	name := fmt.Sprintf("Redis at %.0f events/s", rate)
	b.figure(name+": sent", "events/s", reached, bar{})
	b.figure(name+": CPU per 1,000 events", "ms", (used-before)*1e6/float64(sent), bar{})
	b.figure(name+": lost", "events", float64(sent)-got, bar{})
	return reached, float64(sent) - got, b.losses(e, float64(sent)-got)
}

// losses prints how the exporter itself told of a loss.
func (b *bench) losses(e *exporter, lost float64) error {
	if lost == 0 {
		return nil
	}
	dropped, err := e.sum(`celery_exporter_dropped_total{reason="backlog"`)
	if err != nil {
		return err
	}
	reconnects, err := e.sum("celery_exporter_reconnects_total")
	b.figure("  messages dropped and counted", "", dropped, bar{})
	b.figure("  subscriptions lost and counted", "", reconnects, bar{})
	return err
}

// scrapeNowAndThen scrapes each 15 s until the channel is closed.
func scrapeNowAndThen(e *exporter) chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(15 * time.Second):
				_, _ = e.sum("celery_worker_up") // only the work counts
			}
		}
	}()
	return done
}

// drain measures how fast a stream is worked off that Redis holds ready, beside a plain reader of the same stream.
func (b *bench) drain() error {
	redis, port, err := startRedis(true)
	if err != nil {
		return err
	}
	defer redis.Kill()
	for _, single := range []bool{false, true} {
		s := usual
		s.single = single
		kind := map[bool]string{false: "lists", true: "single events"}[single]
		blocks := render(newGenerator(s).stream(streamEvents), blockEvents)
		events, bytes := total(blocks)
		b.figure("wire bytes an event, "+kind, "", float64(bytes)/float64(events), bar{})
		plain, err := drainPlain(port, blocks, events)
		if err != nil {
			return err
		}
		rate, cpu, err := b.drainOnce(redisURL(port), func() (int, error) { return publishRedis(port, blocks, events, 0) })
		if err != nil {
			return err
		}
		b.figure("plain go-redis reader, same decoder, "+kind, "events/s", plain, bar{})
		b.figure("drained from Redis, "+kind, "events/s", rate, bar{100_000, true})
		b.figure("of the plain reader, "+kind, "", rate/plain, bar{0.7, true})
		b.figure("CPU per 1,000 events, saturated, "+kind, "ms", cpu, bar{10, false})
	}
	return nil
}

// drainOnce returns the rate at which a burst is worked off, and the milliseconds of CPU time for 1,000 events.
func (b *bench) drainOnce(broker string, publish func() (int, error)) (rate, cpu float64, err error) {
	e, err := b.startExporter(broker, "--max-backlog-bytes", "1000000000")
	if err != nil {
		return 0, 0, err
	}
	defer e.Kill()
	before, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	sent, err := publish()
	if err != nil {
		return 0, 0, err
	}
	if rate, err = e.worked(sent, began); err != nil {
		return 0, 0, err
	}
	used, err := e.cpu()
	return rate, (used - before) * 1e6 / float64(sent), err
}

// scrapes measures /metrics with many series, while nothing else happens.
func (b *bench) scrapes() error {
	for _, tc := range []struct {
		shape shape
		limit float64
	}{{shape{names: 50, workers: 20}, 0.1}, {shape{names: 1000, workers: 20}, 2.5}} {
		if err := b.scrapeOf(tc.shape, tc.limit); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) scrapeOf(s shape, limit float64) error {
	redis, port, err := startRedis(true)
	if err != nil {
		return err
	}
	defer redis.Kill()
	e, err := b.startExporter(redisURL(port), "--max-series", "2000000")
	if err != nil {
		return err
	}
	defer e.Kill()
	blocks := render(newGenerator(s).stream(4*s.names*s.workers), blockEvents)
	events, _ := total(blocks)
	if _, err := publishRedis(port, blocks, events, 50_000); err != nil {
		return err
	}
	if _, err := e.counted(events); err != nil {
		return err
	}
	series, err := e.sum("celery_exporter_series ")
	if err != nil {
		return err
	}
	name := fmt.Sprintf("scrape %d names x %d workers", s.names, s.workers)
	b.figure(name+": series", "", series, bar{})
	for _, zipped := range []bool{false, true} {
		took, size, err := e.scrape(zipped)
		if err != nil {
			return err
		}
		label := map[bool]string{false: "", true: ", gzip"}[zipped]
		b.figure(name+label, "s", took.Seconds(), bar{limit, false})
		b.figure(name+label+": size", "MB", float64(size)/1e6, bar{})
	}
	memory, err := e.memory("VmRSS")
	b.figure(name+": memory afterwards (RSS)", "MiB", memory, bar{})
	return err
}

func (e *exporter) scrape(zipped bool) (time.Duration, int64, error) {
	request, err := http.NewRequest(http.MethodGet, e.url("/metrics"), nil)
	if err != nil {
		return 0, 0, err
	}
	request.Header.Set("Accept-Encoding", map[bool]string{false: "identity", true: "gzip"}[zipped])
	began := time.Now()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	size, err := io.Copy(io.Discard, response.Body)
	if err == nil && zipped != (response.Header.Get("Content-Encoding") == "gzip") {
		err = fmt.Errorf("content encoding %q", response.Header.Get("Content-Encoding"))
	}
	return time.Since(began), size, err
}
