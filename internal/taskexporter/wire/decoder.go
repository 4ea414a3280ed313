// SPDX-License-Identifier: Apache-2.0

// Package wire reads and writes Celery's messages as they are on the wire: kombu's envelope, events
// and remote control. It is pure. Whatever bytes it is given, it returns a result or an error,
// in bounded time and memory.
package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// maxEvents bounds the list in one message. A worker sends its buffer when it holds 24.
const maxEvents = 10_000

// Reasons why a message or a part of it was not understood.
var (
	ErrEnvelope    = errors.New("malformed envelope")
	ErrContentType = errors.New("content type other than JSON, MessagePack or YAML")
	ErrBody        = errors.New("malformed body")
)

// Format says how a message's body is to be read: kombu's message properties.
type Format struct {
	// Enveloped bodies are kombu's JSON envelope of the Redis transport, which says the rest
	// itself.
	Enveloped bool
	// ContentType and ContentEncoding as in AMQP; Compression is kombu's header of that name.
	ContentType, ContentEncoding, Compression string
}

// Decoder turns messages into events. It reuses its buffers, and so must not be used from two
// goroutines.
type Decoder struct {
	scan   scanner
	raw    []byte
	body   []byte
	events []Event
	ticket string
}

// Decode returns the events of one message, valid until the next call, and the number of list items
// that are no events. The error is one of ErrEnvelope, ErrContentType and ErrBody; then the whole
// message counts as not understood.
func (d *Decoder) Decode(message []byte, format Format) (events []Event, refused int, err error) {
	body := message
	if format.Enveloped {
		if body, format, err = d.envelope(message); err != nil {
			return nil, 0, err
		}
	}
	if body, err = format.JSON(body); err != nil {
		return nil, 0, err
	}
	return d.decodeBody(body)
}

// Reply returns the plain JSON body of a remote control reply of the Redis transport, valid until
// the next call, and the ticket of the request that it is for.
func (d *Decoder) Reply(message []byte) (body []byte, ticket string, err error) {
	body, format, err := d.envelope(message)
	if err != nil {
		return nil, "", err
	}
	body, err = format.JSON(body)
	return body, d.ticket, err
}

// decodeBody reads one event or a list. One item that is no event does not spoil the others, as
// long as the whole is JSON.
func (d *Decoder) decodeBody(body []byte) (events []Event, refused int, err error) {
	s := &d.scan
	s.reset(body)
	d.events = d.events[:0]
	// Workers with an event loop send lists, even of one; those of gevent and clients send each
	// event by itself.
	if s.take('[') {
		for first := true; s.more(&first, ']'); {
			if !d.add() {
				refused++
			}
			// An event takes 250 bytes here, however short it was on the wire.
			if len(d.events) > maxEvents {
				return nil, 0, fmt.Errorf("more than %d events in a list: %w", maxEvents, ErrBody)
			}
		}
	} else if !d.add() {
		refused++
	}
	if !s.end() {
		return nil, 0, ErrBody
	}
	return d.events, refused, nil
}

// add reads the next event into the list and reports whether it is one.
func (d *Decoder) add() bool {
	d.events = append(d.events, Event{})
	if d.scan.event(&d.events[len(d.events)-1]) != nil {
		d.events = d.events[:len(d.events)-1]
		return false
	}
	return true
}

// envelope reads kombu's envelope: {"body", "content-type", "content-encoding", "headers",
// "properties"} (kombu/transport/virtual/base.py).
func (d *Decoder) envelope(message []byte) ([]byte, Format, error) {
	s := &d.scan
	s.reset(message)
	if !s.take('{') {
		return nil, Format{}, ErrEnvelope
	}
	var body, transfer []byte
	var format Format
	hasBody, hasProperties := false, false
	d.ticket = ""
	for first := true; s.more(&first, '}'); {
		switch string(s.key()) {
		case "body":
			body, hasBody = s.stringOr()
		case "content-type":
			format.ContentType = constant(s.stringOr())
		case "content-encoding":
			format.ContentEncoding = constant(s.stringOr())
		case "headers":
			format.Compression, d.ticket = s.headers()
		case "properties":
			transfer, hasProperties = s.bodyEncoding()
		default:
			s.skip(0)
		}
	}
	// Kombu itself fails without properties. Without them nobody knows how the body is to be read.
	if !s.end() || !hasBody || !hasProperties {
		return nil, Format{}, ErrEnvelope
	}
	body, err := d.transferred(body, string(transfer))
	return body, format, err
}

// headers returns the two headers that matter.
func (s *scanner) headers() (compression, ticket string) {
	s.members(func(key []byte) {
		switch string(key) {
		case "compression":
			compression = constant(s.stringOr())
		case "ticket":
			ticket = constant(s.stringOr())
		default:
			s.skip(1)
		}
	})
	return compression, ticket
}

// bodyEncoding returns the member of that name in the properties, and whether they are an object at
// all.
func (s *scanner) bodyEncoding() (encoding []byte, ok bool) {
	ok = s.members(func(key []byte) {
		if string(key) == "body_encoding" {
			encoding, _ = s.stringOr()
			return
		}
		s.skip(1)
	})
	return encoding, ok
}

// members calls visit with each key of an object, which must consume the value. Any other value is
// skipped.
func (s *scanner) members(visit func(key []byte)) (ok bool) {
	if s.peek() != '{' {
		s.skip(0)
		return false
	}
	s.pos++
	for first := true; s.more(&first, '}'); {
		visit(s.key())
	}
	return true
}

// transferred undoes the transfer encoding of a body; a body without one is text as it stands.
func (d *Decoder) transferred(body []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		// The scanner is about to be reset for the body, whose arena may hold it.
		d.raw = append(d.raw[:0], body...)
		return d.raw, nil
	case "base64":
		decoded, err := base64.StdEncoding.AppendDecode(d.body[:0], body)
		d.body = decoded[:0]
		if err != nil {
			return nil, ErrEnvelope
		}
		return decoded, nil
	}
	// Kombu has no other transfer encoding.
	return nil, ErrEnvelope
}

// constant turns the usual values into strings without a copy.
func constant(value []byte, _ bool) string {
	switch string(value) {
	case typeJSON:
		return typeJSON
	case "utf-8":
		return "utf-8"
	}
	return string(value)
}
