// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"errors"
	"io"
)

const (
	// maxElement bounds a message, in bytes. Redis allows 512 MiB (proto-max-bulk-len), Celery
	// sends kilobytes.
	maxElement = 16 << 20
	// maxElements bounds the array of a reply. The longest, a message to a pattern, has four
	// elements.
	maxElements = 8
)

var (
	errProtocol = errors.New("the server does not speak Redis' protocol")
	errTooLarge = errors.New("an element is larger than 16 MiB")
	// errPartial means that a reply is not there in full yet.
	errPartial = errors.New("partial reply")
)

// replyError is an error that the server replies with. As a redis.Error it is judged as those are
// that go-redis reads.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError marks the type for go-redis.
func (replyError) RedisError() {}

// replies reads what a server sends to a subscriber, in RESP version 2: arrays of bulk strings and
// integers (https://redis.io/docs/latest/develop/reference/protocol-spec). It hands out parts of
// its buffer, where go-redis makes a string of each element; at 100,000 events a second that is
// half of the work.
type replies struct {
	from     io.Reader
	drained  func() // called before each read
	buffer   []byte
	at, end  int // what is read and not handed out yet
	excess   int // bytes to come of a message that is too large
	elements [maxElements][]byte
}

func newReplies(from io.Reader, drained func()) *replies {
	return &replies{from: from, drained: drained, buffer: make([]byte, readSize)}
}

// next returns the elements of the next reply, valid until the call after. It reads as often as it
// must; after a timeout it may be called again. Of a message that is too large the last element,
// which is the message, is empty: a subscription that ended for it would lose others, and whoever
// may publish could end it again and again.
func (r *replies) next() ([][]byte, error) {
	for {
		if known := min(r.excess, r.end-r.at); known > 0 {
			r.at, r.excess = r.at+known, r.excess-known
		}
		elements, length, err := [][]byte(nil), 0, errPartial
		if r.excess == 0 {
			elements, length, err = parseReply(r.buffer[r.at:r.end], r.elements[:0])
		}
		switch {
		case err == nil:
			known := min(length, r.end-r.at)
			r.at, r.excess = r.at+known, length-known
			return elements, nil
		case !errors.Is(err, errPartial):
			return nil, err
		}
		if err := r.read(); err != nil {
			return nil, err
		}
	}
}

// read makes room, and reads what there is.
func (r *replies) read() error {
	switch {
	case r.at == r.end:
		r.at, r.end = 0, 0
		if len(r.buffer) > readSize {
			r.buffer = make([]byte, readSize) // the large message is over
		}
	case r.at > 0:
		r.at, r.end = 0, copy(r.buffer, r.buffer[r.at:r.end])
	}
	if r.end == len(r.buffer) {
		r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
	}
	r.drained()
	n, err := r.from.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error that stays comes again
	}
	return err
}

// parseReply reads one reply at the start of data and returns its elements, in the space given, and
// its length. If the last element is too large, it is returned empty, and the length is more than
// there is.
func parseReply(data []byte, space [][]byte) (elements [][]byte, length int, err error) {
	kind, line, pos, err := header(data)
	if err != nil {
		return nil, 0, err
	}
	switch kind {
	case '-':
		return nil, 0, replyError(line)
	case '+', ':':
		return append(space, line), pos, nil
	case '*':
	default:
		return nil, 0, errProtocol
	}
	count, ok := size(line)
	if !ok || count > maxElements {
		return nil, 0, errProtocol
	}
	for i := range count {
		element, length, err := parseElement(data[pos:])
		if errors.Is(err, errTooLarge) && i == count-1 {
			err = nil
		}
		if err != nil {
			return nil, 0, err
		}
		space = append(space, element)
		pos += length
	}
	return space, pos, nil
}

// parseElement reads a bulk string, nil for a null one, or an integer's digits.
func parseElement(data []byte) (element []byte, length int, err error) {
	kind, line, pos, err := header(data)
	switch {
	case err != nil:
		return nil, 0, err
	case kind == ':' || kind == '$' && string(line) == "-1":
		return line, pos, nil
	case kind != '$':
		return nil, 0, errProtocol
	}
	n, ok := size(line)
	switch {
	case !ok:
		return nil, 0, errProtocol
	case n > maxElement:
		return nil, pos + n + 2, errTooLarge
	case len(data) < pos+n+2:
		return nil, 0, errPartial
	case data[pos+n] != '\r' || data[pos+n+1] != '\n':
		return nil, 0, errProtocol
	}
	return data[pos : pos+n : pos+n], pos + n + 2, nil
}

// maxLine bounds a line, which is a number or the text of an error.
const maxLine = 4 << 10

// header reads a line: the kind of what comes, and the text behind it up to the end of the line.
func header(data []byte) (kind byte, line []byte, length int, err error) {
	// The usual line is a number of a few digits, for which a search would take longer to begin
	// than to end.
	for i := 1; i < min(len(data)-1, 8); i++ {
		if data[i] == '\r' && data[i+1] == '\n' {
			return data[0], data[1:i], i + 2, nil
		}
	}
	end := bytes.Index(data[:min(len(data), maxLine)], []byte("\r\n"))
	switch {
	case end > 0:
		return data[0], data[1:end], end + 2, nil
	case end == 0 || len(data) >= maxLine:
		return 0, nil, 0, errProtocol
	}
	return 0, nil, 0, errPartial
}

// size reads a length, of at most nine digits.
func size(line []byte) (n int, ok bool) {
	if len(line) == 0 || len(line) > 9 {
		return 0, false
	}
	for _, c := range line {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
