// SPDX-License-Identifier: Apache-2.0

package taskevents

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Block is a piece of a stream that is sent at once, ready for the wire, so that making it takes no
// time meanwhile.
type Block struct {
	data   []byte
	events int
}

// Blocks prepares a stream for Redis, in blocks of about that many events.
func Blocks(messages []Message, size int) (blocks []Block) {
	var now Block
	for i, m := range messages {
		channel, payload := "/0.celeryev/"+m.Key, m.Envelope()
		now.data = fmt.Appendf(now.data, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n",
			len(channel), channel, len(payload), payload)
		if now.events += m.Events; now.events >= size || i == len(messages)-1 {
			blocks = append(blocks, now)
			now = Block{data: make([]byte, 0, len(now.data))}
		}
	}
	return blocks
}

// play sends what it is given until so many events are sent, from the start again if there are
// fewer, at a rate in events/s, 0 for as fast as the receiver takes them. By the time a task's id
// comes again it was forgotten long ago.
func play[T any](all []T, events int, rate float64, send func(T) (int, error)) (sent int, err error) {
	began := time.Now()
	for i := 0; sent < events; i++ {
		n, err := send(all[i%len(all)])
		if err != nil {
			return sent, fmt.Errorf("publish events: %w", err)
		}
		if sent += n; rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
		}
	}
	return sent, nil
}

// ToRedis plays blocks to a Redis without a password and returns how many events were sent.
func ToRedis(address string, blocks []Block, events int, rate float64) (sent int, err error) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"); err != nil {
		return 0, err
	}
	sent, err = play(blocks, events, rate, func(b Block) (int, error) {
		_, err := connection.Write(b.data)
		return b.events, err
	})
	if err != nil {
		return sent, err
	}
	// The server must have read everything before the connection goes.
	const ping = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n"
	if _, err := io.WriteString(connection, ping); err != nil {
		return sent, err
	}
	_, err = connection.Read(make([]byte, 64))
	return sent, err
}

// ToRabbitMQ plays messages to a virtual host and returns how many events were sent.
func ToRabbitMQ(url string, messages []Message, events int, rate float64) (sent int, err error) {
	connection, err := amqp.Dial(url)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return 0, err
	}
	sent, err = play(messages, events, rate, func(m Message) (int, error) {
		return m.Events, channel.PublishWithContext(context.Background(), "celeryev", m.Key, false, false,
			amqp.Publishing{
				ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: 1,
				Headers: amqp.Table{"hostname": "celery@worker"}, Body: m.Body,
			})
	})
	if err != nil {
		return sent, err
	}
	// A response comes after all that was sent before.
	return sent, channel.ExchangeDeclarePassive("celeryev", "topic", true, false, false, false, nil)
}
