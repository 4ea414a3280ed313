// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/bench/kit"
)

// churn measures what is left of 5,000 workers that ran a few tasks each, once the time has passed
// after which they are purged.
func (b *bench) churn() {
	const purge = 20 // seconds
	e, port, stop := b.onRedis("--purge-offline-worker-metrics", fmt.Sprint(purge))
	defer stop()
	// As many tasks as are stored, so that those are no difference.
	steady := render(newGenerator(shape{names: 3, workers: 20}).stream(80_000), blockEvents)
	publishRedis(port, steady, 80_000, 20_000)
	time.Sleep(5 * time.Second)
	series := func() float64 { return e.sum("celery_exporter_series") }
	before, memory := series(), e.memory("VmRSS")
	publishRedis(port, render(newGenerator(shape{names: 3, workers: 5_000}).stream(60_000), blockEvents), 60_000, 10_000)
	peak, memoryPeak, began := series(), e.memory("VmRSS"), time.Now()
	for time.Since(began) < 2*time.Minute && (series() > 1.1*before || e.memory("VmRSS") > 1.1*memory) {
		publishRedis(port, steady, blockEvents, blockEvents)
	}
	b.Most("series after the churn of 5,000 workers", series()/before, "times those before", 1.1,
		"%.0f before, %.0f at the peak, back after %.0f s of which the purge waits for %d", before, peak,
		time.Since(began).Seconds(), purge)
	b.Most("… memory (RSS)", e.memory("VmRSS")/memory, "times that before", 1.1, "%.1f MiB before, %.1f at the peak",
		memory, memoryPeak)
}

// broadcasts measures how often workers are asked while one starts each second.
func (b *bench) broadcasts() {
	_, port, stop := b.onRedis("--inspect-interval", "1")
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Protocol: 2})
	defer client.Close()
	questions := client.Subscribe(context.Background(), "/0.celery.pidbox").Channel()
	last, least, count := map[string]time.Time{}, time.Hour, 0
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < 100*time.Second; {
		select {
		case <-ticker.C:
			const online = `{"hostname": "celery@new%d", "timestamp": 1, "type": "worker-online"}`
			m := message{"worker.online", fmt.Appendf(nil, online, time.Now().UnixNano()), 1}
			publishRedis(port, render([]message{m}, 1), 1, 0)
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
