// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/test/realparts"
)

// publisher publishes to RabbitMQ what was encoded before. A client that encodes each message anew would be slower than
// the exporter, on the same processors.
type publisher struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	wire       *recorder
	blocks     []block
}

// recorder is a connection that keeps what is written to it while it records, instead of sending it.
type recorder struct {
	net.Conn
	recording bool
	kept      []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.recording {
		r.kept = append(r.kept, p...)
		return len(p), nil
	}
	return r.Conn.Write(p)
}

// newPublisher connects, and has the library encode a stream.
func newPublisher(port int, messages []message) (*publisher, error) {
	p := &publisher{}
	connection, err := amqp.DialConfig(fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port), amqp.Config{
		Heartbeat: time.Hour, // The server asks for one a minute, which comes long after the recording.
		Dial: func(network, address string) (net.Conn, error) {
			dialled, err := net.Dial(network, address)
			p.wire = &recorder{Conn: dialled}
			return p.wire, err
		},
	})
	if err != nil {
		return nil, err
	}
	p.connection = connection
	if p.channel, err = connection.Channel(); err != nil {
		return nil, err
	}
	p.wire.recording = true
	p.blocks, err = gather(messages, blockEvents/10, p.encode)
	p.wire.recording = false
	return p, err
}

func (p *publisher) encode(out []byte, m message) ([]byte, error) {
	p.wire.kept = out
	err := p.channel.PublishWithContext(context.Background(), "celeryev", m.key, false, false, amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: 1, Headers: amqp.Table{"hostname": "celery@worker"}, Body: m.body,
	})
	return p.wire.kept, err
}

// publish plays what was encoded and waits until the server has taken it.
func (p *publisher) publish(events int, rate float64) (int, error) {
	sent, err := play(p.wire.Conn, p.blocks, events, rate)
	if err != nil {
		return sent, err
	}
	// An answer comes after all that was sent before.
	return sent, p.channel.ExchangeDeclarePassive("celeryev", "topic", true, false, false, false, nil)
}

func (p *publisher) Close() error { return p.connection.Close() }

// publishers is how many connections publish. Each is a process of its own in RabbitMQ.
const publishers = 2

func newPublishers(port, events int) ([]*publisher, error) {
	var all []*publisher
	for range publishers {
		p, err := newPublisher(port, newGenerator(usual).stream(events/publishers))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// publishAll publishes from all connections at once.
func publishAll(all []*publisher, events int, rate float64) (int, error) {
	type result struct {
		sent int
		err  error
	}
	results := make(chan result, len(all))
	for _, p := range all {
		go func() {
			sent, err := p.publish(events/len(all), rate/float64(len(all)))
			results <- result{sent, err}
		}()
	}
	sent, failed := 0, error(nil)
	for range all {
		r := <-results
		sent += r.sent
		failed = errors.Join(failed, r.err)
	}
	return sent, failed
}

// publishAt publishes events at a rate, in events/s, 0 for full speed, and returns how many and the rate that was reached.
func publishAt(rabbit *realparts.RabbitMQ, rate float64, events int) (sent int, reached float64, err error) {
	all, err := newPublishers(rabbit.Port, streamEvents/2)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	sent, err = publishAll(all, events, rate)
	reached = float64(sent) / time.Since(began).Seconds()
	for _, p := range all {
		err = errors.Join(err, p.Close())
	}
	return sent, reached, err
}
