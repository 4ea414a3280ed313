// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// Frames of AMQP 0-9-1 (https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 4.2): type, channel and size, then what
// is in it, then an octet that ends it.
const (
	frameMethod = 1
	frameHeader = 2
	frameBody   = 3
	frameEnd    = 0xCE
	// frameHead is the length of the first three fields, frameAround of all around the payload, in bytes.
	frameHead   = 7
	frameAround = frameHead + 1
	// maxFrame is the largest frame that we take: one must fit into the buffer.
	maxFrame = readSize
)

// methodDeliver are the class and the method of basic.deliver, which begins a message (1.8.3.9).
var methodDeliver = []byte{0, 60, 0, 60}

// maxFormats is for how many lists of properties it is remembered what they say, and maxProperties is the longest of them,
// in bytes. A sender has the same in each message, of a hundred bytes or two.
const (
	maxFormats    = 1024
	maxProperties = 1024
)

var errAMQP = errors.New("the server does not speak AMQP 0-9-1")

// deliveries is all that an AMQP library reads of a connection, without the messages. Those are handed to a sink here, by
// the library's goroutine that reads: the library makes several objects of each, and hands them on to another goroutine,
// which costs more than to count them.
type deliveries struct {
	source *bufio.Reader
	sink   Sink
	// passing is how much the library is to read of a frame that is not ours, in bytes.
	passing int64
	formats map[string]wire.Format

	// The message that is being read, if there is one. There is one consumer, so there is one message at a time.
	open    bool
	headed  bool // its header was read
	channel uint16
	format  wire.Format
	size    uint64 // of the body, in bytes
	read    uint64
	body    []byte // of more than one frame
}

func newDeliveries(connection io.Reader, sink Sink) *deliveries {
	return &deliveries{
		source: bufio.NewReaderSize(&draining{connection, sink.Drained}, maxFrame), sink: sink, formats: map[string]wire.Format{},
	}
}

// draining tells when more has to be waited for: a buffer above it reads when it has handed out all it had.
type draining struct {
	io.Reader
	drained func()
}

func (d *draining) Read(p []byte) (int, error) {
	d.drained()
	return d.Reader.Read(p)
}

// Read reads what is for the library, and hands over the messages that come before it.
func (d *deliveries) Read(p []byte) (int, error) {
	for d.passing == 0 {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n, err := d.source.Read(p[:min(int64(len(p)), d.passing)])
	d.passing -= int64(n)
	return n, err
}

// next reads one frame if it belongs to a message, and lets it pass otherwise.
func (d *deliveries) next() error {
	head, err := d.source.Peek(frameHead)
	if err != nil {
		return err
	}
	kind, channel, size := head[0], binary.BigEndian.Uint16(head[1:]), int64(binary.BigEndian.Uint32(head[3:]))
	ours, err := d.belongs(kind, channel, size)
	switch {
	case err != nil:
		return err
	case !ours:
		d.passing = size + frameAround
		return nil
	case size > maxFrame-frameAround:
		return errAMQP
	}
	frame, err := d.source.Peek(int(size) + frameAround)
	if err != nil {
		return err
	}
	if err := d.take(kind, channel, frame[frameHead:frameHead+size], frame[frameHead+size]); err != nil {
		return err
	}
	_, err = d.source.Discard(len(frame))
	return err
}

// belongs tells whether the next frame is part of a message.
func (d *deliveries) belongs(kind byte, channel uint16, size int64) (bool, error) {
	if kind != frameMethod || size < int64(len(methodDeliver)) {
		return d.open && channel == d.channel && (kind == frameHeader || kind == frameBody), nil
	}
	head, err := d.source.Peek(frameHead + len(methodDeliver))
	if err != nil {
		return false, err
	}
	begins := bytes.Equal(head[frameHead:], methodDeliver)
	if !begins && channel == d.channel {
		d.open = false // What comes now belongs to that method.
	}
	return begins, nil
}

// take reads a frame of a message, and hands the message over if it is complete.
func (d *deliveries) take(kind byte, channel uint16, payload []byte, end byte) error {
	switch {
	case end != frameEnd:
		return errAMQP
	case kind == frameMethod:
		d.open, d.headed, d.channel, d.size, d.read, d.body = true, false, channel, 0, 0, d.body[:0]
		return nil
	case d.headed != (kind == frameBody): // A header comes first, and once.
		return errAMQP
	case kind == frameHeader:
		if len(payload) < 14 {
			return errAMQP
		}
		d.headed, d.size, d.format = true, binary.BigEndian.Uint64(payload[4:]), d.formatOf(payload[12:])
	case d.read == 0 && uint64(len(payload)) == d.size: // as usual
		d.read, d.open = d.size, false
		d.sink.Message(payload, d.format)
		return nil
	default:
		d.read += uint64(len(payload))
		if d.size <= maxElement {
			d.body = append(d.body, payload...)
		}
	}
	if d.read >= d.size {
		d.open = false
		// One that is too large is handed over empty, which is counted as not understood, as on Redis.
		d.sink.Message(d.body, d.format)
	}
	if !d.open && cap(d.body) > maxFrame {
		d.body = nil
	}
	return nil
}

// formatOf returns what a list of properties says, from memory if it was there before.
func (d *deliveries) formatOf(properties []byte) wire.Format {
	format, known := d.formats[string(properties)]
	if known {
		return format
	}
	format = parseProperties(properties)
	if len(properties) > maxProperties {
		return format
	}
	if len(d.formats) >= maxFormats {
		clear(d.formats)
	}
	d.formats[string(properties)] = format
	return format
}

// The properties that are read, by their flags (4.2.6.1). They come in this order, before all others.
const (
	flagContentType     = 1 << 15
	flagContentEncoding = 1 << 14
	flagHeaders         = 1 << 13
)

// parseProperties reads the flags of a list of properties and those properties that kombu puts into its envelope on
// Redis. What is cut short is not there: a message without a content type counts as not understood.
func parseProperties(properties []byte) (format wire.Format) {
	flags, f := binary.BigEndian.Uint16(properties), fields{properties[2:]}
	if flags&flagContentType != 0 {
		format.ContentType = strings.ToLower(name(f.next(1)))
	}
	if flags&flagContentEncoding != 0 {
		format.ContentEncoding = name(f.next(1))
	}
	if flags&flagHeaders != 0 {
		headers := fields{f.next(4)}
		format.Compression = name(headers.text("compression"))
	}
	return format
}

// maxName bounds the name of a content type, an encoding or a compression, in bytes. Longer ones are not known anyway, and
// are kept with each message that waits.
const maxName = 64

func name(text []byte) string { return string(text[:min(len(text), maxName)]) }

// fields are values one behind the other.
type fields struct{ rest []byte }

// bytes returns the next bytes, and nothing from there on if there are fewer.
func (f *fields) bytes(n uint64) (value []byte) {
	if n > uint64(len(f.rest)) {
		n, f.rest = 0, nil
	}
	value, f.rest = f.rest[:n], f.rest[n:]
	return value
}

// next returns the next value of those that begin with their length, which is of 1 or 4 octets.
func (f *fields) next(octets uint64) []byte {
	length := f.bytes(octets)
	if len(length) == 0 {
		return nil
	}
	var n [8]byte
	copy(n[len(n)-len(length):], length)
	return f.bytes(binary.BigEndian.Uint64(n[:]))
}

// fieldSizes are the lengths of a table's values by their type, in bytes: those that RabbitMQ knows
// (https://www.rabbitmq.com/amqp-0-9-1-errata#section_3), and L, which Celery's client writes for large numbers. Others
// begin with their length.
var fieldSizes = map[byte]uint64{
	't': 1, 'b': 1, 'B': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'f': 4, 'l': 8, 'L': 8, 'd': 8, 'T': 8, 'D': 5, 'V': 0,
}

// text returns the string of that name in a table, or none.
func (f *fields) text(name string) []byte {
	for len(f.rest) > 0 {
		key, kind := f.next(1), f.bytes(1)
		if len(kind) == 0 {
			return nil
		}
		if size, fixed := fieldSizes[kind[0]]; fixed {
			f.bytes(size)
			continue
		}
		if value := f.next(4); kind[0] == 'S' && string(key) == name {
			return value
		}
	}
	return nil
}
