// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"strconv"
)

// maxDepth bounds nesting. Celery's own events are two deep.
const maxDepth = 64

// scanner reads one JSON text front to back and materialises only what is asked for. It accepts
// what RFC 8259 accepts, and the NaN and Infinity that Python writes. The first error sticks, and
// every later call yields zero values.
type scanner struct {
	data []byte
	pos  int
	// arena holds unescaped strings. It only grows while a message is read, so that earlier results
	// stay valid.
	arena []byte
	bad   bool
}

func (s *scanner) reset(data []byte) {
	s.data, s.pos, s.bad, s.arena = data, 0, false, s.arena[:0]
}

// peek returns the first byte of the next token, and 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) fail() { s.bad = true }

// end reports whether the text was valid and nothing but space follows it.
func (s *scanner) end() bool {
	return s.peek() == 0 && s.pos == len(s.data) && !s.bad
}

// take consumes c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.bad || s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// more steers a loop over an object or an array that is open already: it reports whether another
// element comes, and consumes the comma before it or the closing bracket.
func (s *scanner) more(first *bool, closing byte) bool {
	if s.take(closing) || s.bad {
		return false
	}
	if !*first && !s.take(',') {
		s.fail()
		return false
	}
	*first = false
	return true
}

// key reads the name of a member and the colon after it.
func (s *scanner) key() []byte {
	if s.peek() != '"' {
		s.fail()
		return nil
	}
	key := s.str()
	if !s.take(':') {
		s.fail()
	}
	return key
}

// stringOr reads a string. Any other value is skipped and reported as not ok.
func (s *scanner) stringOr() (value []byte, ok bool) {
	if s.peek() != '"' {
		s.skip(0)
		return nil, false
	}
	value = s.str()
	return value, !s.bad
}

// rawString skips a value and returns the text between the quotes, escapes and all, if it is a
// string.
func (s *scanner) rawString() []byte {
	if s.peek() != '"' {
		s.skip(0)
		return nil
	}
	start := s.pos + 1
	s.skipString()
	if s.bad {
		return nil
	}
	return s.data[start : s.pos-1]
}

// numberOr reads a finite number. Any other value is skipped and reported as not ok.
func (s *scanner) numberOr() (value float64, ok bool) {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		s.skip(0)
		return 0, false
	}
	start := s.pos
	s.skip(0)
	if s.bad {
		return 0, false
	}
	// The grammar was checked before, because strconv takes more than JSON does: 0x1p-2, 1_000, and
	// numbers without digits before the point.
	value, err := strconv.ParseFloat(string(s.data[start:s.pos]), 64)
	return value, err == nil && !math.IsInf(value, 0)
}

// null consumes a null if it comes next.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.word("null")
	return !s.bad
}

// skip consumes any value, and validates it. The depth is bounded because each level is a call:
// 5,000 brackets are nothing to send, and a stack without end is a process that ends.
func (s *scanner) skip(depth int) {
	switch c := s.peek(); {
	case s.bad || depth > maxDepth:
		s.fail()
	case c == '"':
		s.skipString()
	case c == '{':
		s.skipObject(depth)
	case c == '[':
		s.skipArray(depth)
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		s.skipWord(c)
	}
}

func (s *scanner) skipObject(depth int) {
	s.pos++
	for first := true; s.more(&first, '}'); {
		if s.peek() != '"' {
			s.fail()
			return
		}
		s.skipString()
		if !s.take(':') {
			s.fail()
			return
		}
		s.skip(depth + 1)
	}
}

func (s *scanner) skipArray(depth int) {
	s.pos++
	for first := true; s.more(&first, ']'); {
		s.skip(depth + 1)
	}
}

// skipWord consumes a literal. JSON has no NaN, but Celery's json.dumps writes it for a runtime
// that is none.
func (s *scanner) skipWord(c byte) {
	switch c {
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	case 'N':
		s.word("NaN") // Python's json writes and reads these three.
	case 'I':
		s.word("Infinity")
	default:
		s.fail()
	}
}

func (s *scanner) word(w string) {
	if len(s.data)-s.pos < len(w) || string(s.data[s.pos:s.pos+len(w)]) != w {
		s.fail()
		return
	}
	s.pos += len(w)
}

// number consumes a number by the grammar of RFC 8259, section 6.
func (s *scanner) number() {
	if s.data[s.pos] == '-' {
		s.pos++
		if s.pos < len(s.data) && s.data[s.pos] == 'I' {
			s.word("Infinity")
			return
		}
	}
	if s.pos < len(s.data) && s.data[s.pos] == '0' {
		s.pos++
	} else {
		s.digits()
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		s.digits()
	}
	s.exponent()
}

func (s *scanner) exponent() {
	if s.pos >= len(s.data) || s.data[s.pos]|0x20 != 'e' {
		return
	}
	s.pos++
	if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
		s.pos++
	}
	s.digits()
}

func (s *scanner) digits() {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.fail()
	}
}
