// SPDX-License-Identifier: Apache-2.0

// Package devtools speaks the DevTools protocol to a browser over two pipes: nobody else on the
// machine can reach it. It knows no page.
package devtools

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Connection to a browser, for one command at a time.
type Connection struct {
	// Session is that of the page which commands are for; empty for the browser.
	Session string

	to      *os.File
	from    *os.File
	replies *bufio.Reader
	last    int
	event   func(method string, params json.RawMessage)
}

// Parameters of a command.
type Parameters = map[string]any

// Start a browser that has --remote-debugging-pipe among its arguments. Each event is given away
// when it is read, which is while a command or Await waits.
func Start(command *exec.Cmd, event func(method string, params json.RawMessage)) (*Connection, error) {
	theirs, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	from, ours, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	defer ours.Close()
	command.ExtraFiles = []*os.File{theirs, ours}
	if err := command.Start(); err != nil {
		return nil, errors.Join(err, to.Close(), from.Close())
	}
	return &Connection{to: to, from: from, replies: bufio.NewReader(from), event: event}, nil
}

// Interrupt whatever waits, now and later.
func (c *Connection) Interrupt() {
	_ = c.to.SetDeadline(time.Now())
	_ = c.from.SetDeadline(time.Now())
}

// Close the pipes, which does not end the browser.
func (c *Connection) Close() error { return errors.Join(c.to.Close(), c.from.Close()) }

// Do a command, and read its result if it is not nil.
func (c *Connection) Do(method string, with Parameters, result any) error {
	c.last++
	command := Parameters{"id": c.last, "method": method}
	if with != nil {
		command["params"] = with
	}
	if c.Session != "" {
		command["sessionId"] = c.Session
	}
	text, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := c.to.Write(append(text, 0)); err != nil {
		return err
	}
	var reply message
	for reply.ID != c.last {
		if reply, err = c.receive(); err != nil {
			return err
		}
	}
	switch {
	case reply.Error.Message != "":
		return errors.New(reply.Error.Message)
	case result == nil:
		return nil
	}
	return json.Unmarshal(reply.Result, result)
}

// Await reads events until that is so.
func (c *Connection) Await(so func() bool) error {
	for !so() {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

// message of the browser: a reply with the ID of a command, or an event.
type message struct {
	ID     int
	Result json.RawMessage
	Error  struct{ Message string }
	Method string
	Params json.RawMessage
}

// maxMessage is more than a picture of the most pixels has.
const maxMessage = 128 << 20

// receive the next message, and give it away if it is an event.
func (c *Connection) receive() (m message, err error) {
	var text []byte
	for err = bufio.ErrBufferFull; errors.Is(err, bufio.ErrBufferFull); {
		var part []byte
		part, err = c.replies.ReadSlice(0)
		if text = append(text, part...); len(text) > maxMessage {
			return m, fmt.Errorf("a message of the browser has more than %d bytes", maxMessage)
		}
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		return m, err
	}
	if m.Method != "" {
		c.event(m.Method, m.Params)
	}
	return m, nil
}
