// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"
)

// overload sends as fast as it goes for a while, which is more than can be worked off, with the usual limits.
func (b *bench) overload() error {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return err
	}
	defer stop()
	blocks := render(newGenerator(usual).stream(streamEvents), blockEvents)
	sent, began := 0, time.Now()
	for time.Since(began).Seconds() < b.seconds {
		n, err := publishRedis(port, blocks, streamEvents, 0)
		if err != nil {
			return err
		}
		sent += n
	}
	b.figure("overload: events sent", "events/s", float64(sent)/time.Since(began).Seconds(), bar{})
	got, err := e.counted(sent)
	if err != nil {
		return err
	}
	b.figure("overload: events counted", "events/s", got/time.Since(began).Seconds(), bar{})
	b.figure("overload: events counted", "%", 100*got/float64(sent), bar{})
	peak, err := e.memory("VmHWM")
	if err != nil {
		return err
	}
	b.figure("overload: peak memory", "MiB", peak, bar{})
	if err := b.losses(e, float64(sent)-got); err != nil {
		return err
	}
	after, err := publishRedis(port, blocks, 10_000, 10_000)
	if err != nil {
		return err
	}
	finally, err := e.counted(int(got) + after)
	b.figure("overload: caught up, events lost afterwards", "", got+float64(after)-finally, bar{0.5, false})
	return err
}

// manyTasks measures memory after a million events of a quarter of a million tasks.
func (b *bench) manyTasks() error {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return err
	}
	defer stop()
	g := newGenerator(usual)
	sent := 0
	for sent < 1_000_000 {
		blocks := render(g.stream(100_000), blockEvents)
		n, err := publishRedis(port, blocks, 100_000, 50_000)
		if err != nil {
			return err
		}
		sent += n
	}
	memory, err := e.memory("VmRSS")
	if err != nil {
		return err
	}
	b.figure("memory after 1 M events of 250,000 tasks (RSS)", "MiB", memory, bar{60, false})
	got, err := e.counted(sent)
	b.figure("lost of 1 M events", "", float64(sent)-got, bar{0.5, false})
	return err
}
