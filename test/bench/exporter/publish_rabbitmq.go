// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
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

// publishers publish at once. Each connection is a process of its own in RabbitMQ.
type publishers []*publisher

// newPublishers makes two, with a stream of their own each.
func newPublishers(port int) (publishers, error) {
	all := make(publishers, 2)
	for i := range all {
		var err error
		if all[i], err = newPublisher(port, newGenerator(usual).stream(streamEvents/4)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// publish publishes events at a rate, in events/s, 0 for full speed, and returns how many and the rate that was reached.
func (all publishers) publish(events int, rate float64) (sent int, reached float64, err error) {
	type result struct {
		sent int
		err  error
	}
	results := make(chan result, len(all))
	began := time.Now()
	for _, p := range all {
		go func() {
			sent, err := p.publish(events/len(all), rate/float64(len(all)))
			results <- result{sent, err}
		}()
	}
	for range all {
		r := <-results
		sent += r.sent
		err = errors.Join(err, r.err)
	}
	return sent, float64(sent) / time.Since(began).Seconds(), err
}

func (all publishers) Close() error {
	var err error
	for _, p := range all {
		err = errors.Join(err, p.connection.Close())
	}
	return err
}
