// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/cgroup"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/taskevents"
)

// footprint measures size and idle memory: what a container is charged for, and what the process
// has mapped, which is more by the pages of the program.
func (b *bench) footprint() {
	var err error
	if b.group, err = cgroup.New(0); err != nil {
		kit.Progress("the working set is not measured: %v", err)
	} else {
		defer func() { kit.Check(b.group.Remove()); b.group = nil }()
	}
	b.onRedis(func(e *exporter, _ server) {
		time.Sleep(2 * time.Second)
		if b.group != nil {
			b.Most("memory idle (working set)", kit.MiB(kit.Must(b.group.WorkingSet())), "MiB", 12)
		}
		b.Most("memory idle (RSS)", e.resident(), "MiB", 12, "%.1f of its own", kit.MiB(e.memory().RssAnon))
	})()
	b.Note("binary", kit.MiB(kit.Must(os.Stat(b.program)).Size()), "MiB")
}

// quiet measures the processor's time at a rate at which wake-ups are what costs, so each message
// goes out by itself.
func (b *bench) quiet(e *exporter, redis server) {
	stream := taskevents.Blocks(messages(taskevents.Usual, 100_000), 1)
	time.Sleep(2 * time.Second)
	before, began := e.cpu(), time.Now()
	redis.publish(stream, int(1000*b.seconds), 1000)
	b.Most("CPU at 1,000 events/s", 100*(e.cpu()-before)/time.Since(began).Seconds(), "% of a core", 3)
}

// sustained finds the highest of some rates that is sustained without a loss, scraped now and then.
func (b *bench) sustained() {
	stream, best := blocks(taskevents.Usual, streamEvents), 0.0
	for _, rate := range []float64{50_000, 100_000, 150_000, 200_000, 250_000} {
		b.onRedis(func(e *exporter, redis server) {
			ctx, done := context.WithCancel(context.Background())
			go func() {
				for kit.Try(func() { kit.Pause(ctx, 15*time.Second) }) == nil {
					_ = kit.Try(func() { e.get("/metrics", "identity") }) // only the work counts
				}
			}()
			before, began := e.cpu(), time.Now()
			sent := redis.publish(stream, int(rate*b.seconds), rate)
			reached := float64(sent) / time.Since(began).Seconds()
			done()
			lost := e.lost(sent)
			b.Note(fmt.Sprintf("Redis at %.0f events/s: CPU per 1,000 events", rate), e.perThousand(before, sent), "ms",
				"%.0f events/s sent, %.0f lost, %s", reached, lost, e.losses())
			if lost == 0 {
				best = max(best, reached)
			}
		})()
	}
	b.Least("sustained on Redis, no loss", best, "events/s", 99_000)
}

// drain measures how fast a stream is worked off that Redis holds ready, beside a plain reader of
// the same stream.
func (b *bench) drain() {
	redis := startRedis("--client-output-buffer-limit", "pubsub 0 0 0") // no limit of a subscriber's backlog
	defer redis.Kill()
	for _, kind := range []string{"lists", "single events"} {
		shape := taskevents.Usual
		shape.Single = kind != "lists"
		stream := blocks(shape, streamEvents)
		plain := redis.drainPlain(stream)
		e := b.start(redis.url(), "--max-backlog-bytes", "1000000000")
		before, began := e.cpu(), time.Now()
		sent := redis.publish(stream, streamEvents, 0)
		_, rate := e.worked(sent, began)
		cpu := e.perThousand(before, sent)
		e.Kill()
		b.Least("drained from Redis, "+kind, rate, "events/s", 100_000)
		b.Least("… of a plain go-redis reader with the same decoder", rate/plain, "times", 0.7, "%.0f events/s", plain)
		b.Most("… CPU per 1,000 events", cpu, "ms", 10)
	}
}

// drainPlain is the rate at which go-redis and the same decoder work off a stream, and do nothing
// with the events.
func (s server) drainPlain(stream []taskevents.Block) float64 {
	ctx, client := context.Background(), s.client("")
	defer client.Close()
	sub := client.PSubscribe(ctx, "/0.celeryev/*")
	kit.Must(sub.Receive(ctx))
	published := make(chan error, 1)
	began := time.Now()
	go func() { published <- kit.Try(func() { s.publish(stream, streamEvents, 0) }) }()
	var decoder wire.Decoder
	for events := 0; events < streamEvents; {
		message := kit.Must(sub.ReceiveMessage(ctx))
		list, _, err := decoder.Decode([]byte(message.Payload), wire.Format{Enveloped: true})
		kit.Check(err)
		events += len(list)
	}
	rate := streamEvents / time.Since(began).Seconds()
	kit.Check(<-published)
	return rate
}

// overload sends as fast as it goes for a while, which is more than can be worked off.
func (b *bench) overload(e *exporter, redis server) {
	stream := blocks(taskevents.Usual, streamEvents)
	sent, began := 0, time.Now()
	for time.Since(began).Seconds() < b.seconds {
		sent += redis.publish(stream, streamEvents, 0)
	}
	rate := float64(sent) / time.Since(began).Seconds()
	got, counted := e.worked(sent, began)
	b.Note("overload: counted", counted, "events/s", "%.0f events/s sent, %s, at most %.0f MiB",
		rate, e.losses(), kit.MiB(e.memory().VmHWM))
	after := redis.publish(stream, 10_000, 10_000)
	b.Most("… lost after it has caught up", e.lost(int(got)+after), "events", 0)
}

// manyTasks measures memory after a million events of a quarter of a million tasks.
func (b *bench) manyTasks(e *exporter, redis server) {
	tasks, sent := taskevents.NewGenerator(taskevents.Usual), 0
	for sent < 1_000_000 {
		sent += redis.publish(taskevents.Blocks(tasks.Stream(100_000), blockEvents), 100_000, 50_000)
	}
	b.Most("memory after 1 M events of 250,000 tasks (RSS)", e.resident(), "MiB", 60)
	b.Most("… lost of them", e.lost(sent), "events", 0)
}

// scrapes measures /metrics with many series, while nothing else happens.
func (b *bench) scrapes() {
	for i, names := range []int{50, 1000} {
		limit := []float64{0.1, 2.5}[i] // seconds
		b.onRedis(func(e *exporter, redis server) {
			events := 4 * names * 20
			e.lost(redis.publish(blocks(taskevents.Shape{Names: names, Workers: 20}, events), events, 50_000))
			for _, encoding := range []string{"identity", "gzip"} {
				began := time.Now()
				size := float64(len(e.get("/metrics", encoding))) / 1e6
				took := time.Since(began).Seconds()
				name := fmt.Sprintf("scrape of %.0f series, %s", e.sum("celery_exporter_series"), encoding)
				b.Most(name, took, "s", limit, "%.2f MB", size)
			}
			b.Note("… memory afterwards (RSS)", e.resident(), "MiB")
		}, "--max-series", "2000000")()
	}
}

// purge is how many seconds the exporter waits that is used for the churn.
const purge = 20

// churn measures what is left of 5,000 workers that ran a few tasks each, once the time has passed
// after which they are purged.
func (b *bench) churn(e *exporter, redis server) {
	// As many tasks as are stored, so that those are no difference.
	steady := blocks(taskevents.Shape{Names: 3, Workers: 20}, 80_000)
	redis.publish(steady, 80_000, 20_000)
	time.Sleep(5 * time.Second)
	series := func() float64 { return e.sum("celery_exporter_series") }
	before, memory := series(), e.resident()
	redis.publish(blocks(taskevents.Shape{Names: 3, Workers: 5_000}, 60_000), 60_000, 10_000)
	peak, memoryPeak, began := series(), e.resident(), time.Now()
	for time.Since(began) < 2*time.Minute && (series() > 1.1*before || e.resident() > 1.1*memory) {
		redis.publish(steady, blockEvents, blockEvents)
	}
	b.Most("series after the churn of 5,000 workers", series()/before, "times those before", 1.1,
		"%.0f before, %.0f at the peak, back after %.0f s of which the purge waits for %d", before, peak,
		time.Since(began).Seconds(), purge)
	b.Most("… memory (RSS)", e.resident()/memory, "times that before", 1.1, "%.1f MiB before, %.1f at the peak",
		memory, memoryPeak)
}

// broadcasts measures how often workers are asked while one starts each second.
func (b *bench) broadcasts(_ *exporter, redis server) {
	client := redis.client("")
	defer client.Close()
	questions := client.Subscribe(context.Background(), "/0.celery.pidbox").Channel()
	last, least, count := map[string]time.Time{}, time.Hour, 0
	ticks, end := time.Tick(time.Second), time.After(100*time.Second)
	for over := false; !over; {
		select {
		case <-end:
			over = true
		case <-ticks:
			const online = `{"hostname": "celery@new%d", "timestamp": 1, "type": "worker-online"}`
			m := taskevents.Message{Key: "worker.online", Body: fmt.Appendf(nil, online, time.Now().UnixNano()), Events: 1}
			redis.publish(taskevents.Blocks([]taskevents.Message{m}, 1), 1, 0)
		case question := <-questions:
			var envelope struct{ Body []byte }
			var body struct{ Method string }
			kit.Check(json.Unmarshal([]byte(question.Payload), &envelope))
			kit.Check(json.Unmarshal(envelope.Body, &body))
			now := time.Now()
			if at, again := last[body.Method]; again {
				least = min(least, now.Sub(at))
			}
			last[body.Method] = now
			count++
		}
	}
	if least == time.Hour {
		kit.Check(errors.New("no question was broadcast twice"))
	}
	// What is measured is when they arrive.
	b.Least("shortest time between two broadcasts of a question, a new worker each second", least.Seconds(), "s", 29.9,
		"%d broadcasts in 100 s, --inspect-interval 1", count)
}

// refused counts the connections to servers that refuse the password, after the fifth.
func (b *bench) refused() {
	redis := startRedis("--requirepass", "right")
	defer redis.Kill()
	rabbit, log, stop := b.startRabbit()
	defer stop()
	client := redis.client("right")
	defer client.Close()
	accepted := func() [2]int {
		stats := kit.Must(client.InfoMap(context.Background(), "stats").Result())["Stats"]
		return [2]int{
			kit.Must(strconv.Atoi(stats["total_connections_received"])),
			strings.Count(string(kit.Must(os.ReadFile(log))), "accepting AMQP connection"),
		}
	}
	before := accepted()
	defer b.launch("redis://:wrong@" + redis.address).Kill()
	defer b.launch(strings.Replace(rabbit.URL("/"), ":guest", ":wrong", 1)).Kill()
	kit.Check(integration.WaitFor("five refusals of each", 5*time.Minute, func() bool {
		now := accepted()
		return now[0]-before[0] >= 5 && now[1]-before[1] >= 5
	}))
	before = accepted()
	span := 3 * time.Minute
	time.Sleep(span)
	after := accepted()
	for i, name := range []string{"Redis that refuses (WRONGPASS)", "RabbitMQ that refuses (ACCESS_REFUSED)"} {
		b.Most("connections a minute to a "+name+", after the fifth", float64(after[i]-before[i])/span.Minutes(), "", 1)
	}
}

const (
	// rabbitRate has to be sustained, in events/s, and 1,000 events may cost rabbitCPU
	// milliseconds.
	rabbitRate, rabbitCPU = 20_000, 15
	// filled is how many events wait in the queue: far below its limit of 64 MiB, and sent before
	// RabbitMQ takes an exporter that does not respond for dead, which is after ten seconds.
	filled = 60_000
)

// rabbitMQ measures at a rate, and how fast a queue is worked off that filled up.
func (b *bench) rabbitMQ() {
	rabbit, _, stop := b.startRabbit()
	defer stop()
	// Two publish at once: each connection is a process of its own in RabbitMQ.
	streams := [][]taskevents.Message{
		messages(taskevents.Usual, streamEvents/4), messages(taskevents.Usual, streamEvents/4),
	}

	e := b.start(rabbit.URL("/"))
	before := e.cpu()
	sent, reached := publishRabbit(rabbit.URL("/"), streams, int(rabbitRate*b.seconds), rabbitRate)
	b.Least(fmt.Sprintf("RabbitMQ at %d events/s: sent", rabbitRate), reached, "events/s", 0.98*rabbitRate)
	b.Most("… lost", e.lost(sent), "events", 0)
	b.Most("… CPU per 1,000 events", e.perThousand(before, sent), "ms", rabbitCPU)
	// One that is killed leaves its queue for a minute, and the server would fill that too.
	kit.Check(e.Stop(syscall.SIGTERM, 10*time.Second))

	e = b.start(rabbit.URL("/"))
	defer e.Kill()
	e.Signal(syscall.SIGSTOP)
	sent, _ = publishRabbit(rabbit.URL("/"), streams, filled, 0)
	before, began := e.cpu(), time.Now()
	e.Signal(syscall.SIGCONT)
	got, rate := e.worked(sent, began)
	b.Least("RabbitMQ, a filled queue worked off", rate, "events/s", rabbitRate)
	b.Most("… lost", float64(sent)-got, "events", 0)
	b.Most("… CPU per 1,000 events", e.perThousand(before, sent), "ms", rabbitCPU)
}

// publishRabbit plays streams side by side, and returns how many events were sent and the rate that
// was reached.
func publishRabbit(url string, streams [][]taskevents.Message, events int, rate float64) (sent int, reached float64) {
	var all atomic.Int64
	n, began := len(streams), time.Now()
	kit.Parallel(n, n, func(i int) {
		all.Add(int64(kit.Must(taskevents.ToRabbitMQ(url, streams[i], events/n, rate/float64(n)))))
	})
	return int(all.Load()), float64(all.Load()) / time.Since(began).Seconds()
}
