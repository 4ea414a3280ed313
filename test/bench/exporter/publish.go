// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"time"
)

// block is a piece of a stream that is sent at once, ready for the wire, so that making it takes no time meanwhile.
type block struct {
	data   []byte
	events int
}

// blockEvents is how many events a block has, about: at 100,000 events/s, ten milliseconds' worth.
const blockEvents = 1000

// gather makes blocks of about that many events.
func gather(messages []message, size int, encode func(out []byte, m message) ([]byte, error)) ([]block, error) {
	var blocks []block
	current := block{}
	for _, m := range messages {
		data, err := encode(current.data, m)
		if err != nil {
			return nil, err
		}
		current.data = data
		if current.events += m.events; current.events >= size {
			blocks = append(blocks, current)
			current = block{data: make([]byte, 0, len(current.data))}
		}
	}
	if current.events > 0 {
		blocks = append(blocks, current)
	}
	return blocks, nil
}

// render prepares a stream for Redis.
func render(messages []message, size int) []block {
	blocks, _ := gather(messages, size, func(out []byte, m message) ([]byte, error) { return appendPublish(out, m), nil }) // never fails
	return blocks
}

// play writes blocks until so many events are sent, from the start again if there are fewer, at a rate in events/s, 0 for
// as fast as the receiver takes them. By the time a task's id comes again, it was forgotten long ago: it is a new task.
func play(to io.Writer, blocks []block, events int, rate float64) (sent int, err error) {
	began := time.Now()
	for i := 0; sent < events; i++ {
		b := blocks[i%len(blocks)]
		if _, err := to.Write(b.data); err != nil {
			return sent, err
		}
		sent += b.events
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
		}
	}
	return sent, nil
}

func total(blocks []block) (events, bytes int) {
	for _, b := range blocks {
		events += b.events
		bytes += len(b.data)
	}
	return events, bytes
}

// publishRedis plays blocks to a Redis of this machine and returns the events sent.
func publishRedis(port int, blocks []block, events int, rate float64) (int, error) {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"); err != nil {
		return 0, err
	}
	sent, err := play(connection, blocks, events, rate)
	if err != nil {
		return sent, err
	}
	// The server must have read everything before the connection goes.
	if _, err := io.WriteString(connection, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n"); err != nil {
		return sent, err
	}
	_, err = connection.Read(make([]byte, 64))
	return sent, err
}
