// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/test/integration"
)

// rabbitMQ measures at two rates, at full speed beside a bare reader, and how fast a queue is worked off that filled up.
func (b *bench) rabbitMQ() error {
	dir, err := os.MkdirTemp("", "bench-rabbitmq")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rabbit, err := integration.NewRabbitMQ(dir)
	if err != nil {
		return err
	}
	defer rabbit.Close()
	log, err := os.Create(dir + "/output.log")
	if err != nil {
		return err
	}
	defer log.Close()
	// Its schedulers do not wait busily for work, as its guide advises where others need the processors
	// (https://www.rabbitmq.com/docs/runtime#cpu-reduce-idle-usage).
	rabbit.Erlang = "+sbwt none +sbwtdcpu none +sbwtdio none"
	server, err := rabbit.Start(log)
	if err != nil {
		return err
	}
	defer server.Kill()
	all, err := newPublishers(rabbit.Port)
	if err != nil {
		return err
	}
	for _, rate := range []float64{rabbitBar, 2 * rabbitBar} {
		reached, err := b.rabbitAt(rabbit, all, rate, int(rate*b.seconds))
		if err != nil {
			return err
		}
		b.figure(fmt.Sprintf("RabbitMQ at %.0f events/s: sent", rate), "events/s", reached, bar{0.98 * rate, true})
	}
	return errors.Join(b.rabbitFull(rabbit, all), b.rabbitFilled(rabbit, all), all.Close())
}

// rabbitAt measures the exporter at a rate, in events/s, 0 for full speed, and returns the rate that server and publishers
// reached.
func (b *bench) rabbitAt(rabbit *integration.RabbitMQ, all publishers, rate float64, events int) (float64, error) {
	e, err := b.startExporter(rabbit.URL("/"))
	if err != nil {
		return 0, err
	}
	defer e.Kill()
	before, err := e.cpu()
	if err != nil {
		return 0, err
	}
	sent, reached, err := all.publish(events, rate)
	if err != nil {
		return 0, err
	}
	got, err := e.counted(sent)
	if err != nil {
		return 0, err
	}
	used, err := e.cpu()
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("RabbitMQ at %.0f events/s", rate)
	if rate == 0 {
		name = "RabbitMQ at full speed"
	}
	b.figure(name+": lost", "events", float64(sent)-got, bar{0.5, false})
	b.figure(name+": CPU per 1,000 events", "ms", (used-before)*1e6/float64(sent), bar{15, false})
	// One that is killed leaves its queue for a minute, and the server would fill that too.
	return reached, e.Stop(syscall.SIGTERM, 10*time.Second)
}

// rabbitBar is the rate that has to be sustained, in events/s.
const rabbitBar = 20_000

// rabbitPairs is how often the exporter is compared with the bare reader. The median counts.
const rabbitPairs = 5

// rabbitFull measures what server and publishers reach at full speed beside the exporter, and beside a reader that does not
// look at what it reads. Which of the two comes first alternates.
func (b *bench) rabbitFull(rabbit *integration.RabbitMQ, all publishers) error {
	var bare, ours, shares []float64
	for i := range rabbitPairs {
		turns := []func() error{
			func() error { return b.rabbitOurs(rabbit, all, &ours) },
			func() error { return b.rabbitBare(rabbit, all, &bare) },
		}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := turn(); err != nil {
				return err
			}
		}
		shares = append(shares, ours[i]/bare[i])
	}
	for _, figures := range [][]float64{bare, ours, shares} {
		slices.Sort(figures)
	}
	b.figure("RabbitMQ at full speed beside the exporter, median", "events/s", ours[rabbitPairs/2], bar{})
	b.figure("RabbitMQ at full speed beside the exporter, most", "events/s", ours[rabbitPairs-1], bar{})
	b.figure("RabbitMQ at full speed beside a bare reader, median", "events/s", bare[rabbitPairs/2], bar{})
	b.figure("RabbitMQ at full speed beside a bare reader, most", "events/s", bare[rabbitPairs-1], bar{})
	b.figure("RabbitMQ at full speed, of what a bare reader leaves", "", shares[rabbitPairs/2], bar{})
	return nil
}

func (b *bench) rabbitOurs(rabbit *integration.RabbitMQ, all publishers, rates *[]float64) error {
	reached, err := b.rabbitAt(rabbit, all, 0, b.rabbitTurn())
	*rates = append(*rates, reached)
	return err
}

// rabbitTurn is how many events make one turn at full speed.
func (b *bench) rabbitTurn() int { return int(rabbitBar * b.seconds / rabbitPairs) }

func (b *bench) rabbitBare(rabbit *integration.RabbitMQ, all publishers, rates *[]float64) error {
	reader, err := newBareReader(rabbit.URL("/"))
	if err != nil {
		return err
	}
	_, reached, err := all.publish(b.rabbitTurn(), 0)
	*rates = append(*rates, reached)
	return errors.Join(err, reader.Close())
}

// bareReader consumes all events from a queue like the exporter's, and throws away what comes without a look at it.
type bareReader struct {
	net.Conn
	consuming atomic.Bool
}

func newBareReader(url string) (*bareReader, error) {
	r := &bareReader{}
	connection, err := amqp.DialConfig(url, amqp.Config{Heartbeat: time.Hour, Dial: func(network, address string) (net.Conn, error) {
		var err error
		r.Conn, err = net.Dial(network, address)
		return r, err
	}})
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	// It goes with its consumer; the limits are the exporter's.
	limits := amqp.Table{"x-message-ttl": int32(60_000), "x-max-length-bytes": int32(64 << 20)}
	queue, err := channel.QueueDeclare("", true, true, false, false, limits)
	if err != nil {
		return nil, err
	}
	if err := channel.QueueBind(queue.Name, "#", "celeryev", false, nil); err != nil {
		return nil, err
	}
	_, err = channel.Consume(queue.Name, "", true, false, false, false, nil)
	r.consuming.Store(true)
	return r, err
}

// Read reads for the library until the messages come, and then for nobody.
func (r *bareReader) Read(p []byte) (int, error) {
	if !r.consuming.Load() {
		return r.Conn.Read(p)
	}
	for all := make([]byte, 128<<10); ; {
		if _, err := r.Conn.Read(all); err != nil {
			return 0, err
		}
	}
}

// filled is how many events wait in the queue: far below its limit of 64 MiB, and sent before RabbitMQ takes an exporter
// that does not answer for dead, which is after ten seconds.
const filled = 60_000

// rabbitFilled stops the exporter, fills its queue and measures how fast it is worked off.
func (b *bench) rabbitFilled(rabbit *integration.RabbitMQ, all publishers) error {
	rate, cpu, err := b.drainFilled(rabbit, all)
	if err != nil {
		return err
	}
	b.figure("RabbitMQ, a filled queue worked off", "events/s", rate, bar{rabbitBar, true})
	b.figure("RabbitMQ, a filled queue: CPU per 1,000 events", "ms", cpu, bar{})
	return nil
}

func (b *bench) drainFilled(rabbit *integration.RabbitMQ, all publishers) (rate, cpu float64, err error) {
	e, err := b.startExporter(rabbit.URL("/"))
	if err != nil {
		return 0, 0, err
	}
	defer e.Kill()
	e.Signal(syscall.SIGSTOP)
	sent, _, err := all.publish(filled, 0)
	if err != nil {
		return 0, 0, err
	}
	before, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	e.Signal(syscall.SIGCONT)
	if rate, err = e.worked(sent, began); err != nil {
		return 0, 0, err
	}
	used, err := e.cpu()
	return rate, (used - before) * 1e6 / float64(sent), err
}
