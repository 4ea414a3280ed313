// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// block is a piece of a stream that is sent at once, ready to be written to Redis.
type block struct {
	data   []byte
	events int
}

// blockEvents is how many events a block has, about: at 100,000 events/s, ten milliseconds' worth.
const blockEvents = 1000

// render prepares a stream for Redis, so that making it takes no time while it is sent.
func render(messages []message) []block { return renderBy(messages, blockEvents) }

// renderBy makes blocks of about that many events.
func renderBy(messages []message, size int) []block {
	var blocks []block
	current := block{}
	for _, m := range messages {
		current.data = appendPublish(current.data, m)
		current.events += m.events
		if current.events >= size {
			blocks = append(blocks, current)
			current = block{data: make([]byte, 0, len(current.data))}
		}
	}
	if current.events > 0 {
		blocks = append(blocks, current)
	}
	return blocks
}

// publishRedis writes blocks at a rate in events/s, zero for as fast as possible, and returns the events sent.
func publishRedis(port int, blocks []block, rate float64) int {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	check(err)
	defer connection.Close()
	_, err = connection.Write([]byte("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"))
	check(err)
	sent := 0
	began := time.Now()
	for _, b := range blocks {
		_, err := connection.Write(b.data)
		check(err)
		sent += b.events
		pace(began, sent, rate)
	}
	// The server must have read everything before the connection goes.
	_, err = connection.Write([]byte("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n"))
	check(err)
	_, err = connection.Read(make([]byte, 64))
	check(err)
	return sent
}

// pace sleeps until the rate allows more.
func pace(began time.Time, sent int, rate float64) {
	if rate > 0 {
		time.Sleep(time.Until(began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
	}
}

// publishRabbit sends messages at a rate in events/s, zero for as fast as possible, and returns the events sent.
func publishRabbit(port int, messages []message, rate float64) int {
	connection, err := amqp.Dial(fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port))
	check(err)
	defer connection.Close()
	channel, err := connection.Channel()
	check(err)
	sent := 0
	began := time.Now()
	for i, m := range messages {
		check(channel.PublishWithContext(context.Background(), "celeryev", m.key, false, false, amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: 1, Headers: amqp.Table{"hostname": "celery@worker"}, Body: m.body,
		}))
		sent += m.events
		if i%100 == 0 {
			pace(began, sent, rate)
		}
	}
	return sent
}
