// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting. Celery's own events are two deep.
const maxDepth = 64

var errSyntax = errors.New("not a JSON text")

// scanner reads one JSON text front to back and materialises only what is asked for. It accepts what RFC 8259
// accepts, and the NaN and Infinity that Python writes. The first error sticks, and every later call yields zero values.
type scanner struct {
	data []byte
	pos  int
	// arena holds unescaped strings. It only grows while a message is read, so that earlier results stay valid.
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

// more steers a loop over an object or an array that is open already: it reports whether another element comes, and
// consumes the comma before it or the closing bracket.
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

// rawString skips a value and returns the text between the quotes, escapes and all, if it is a string.
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

// skip consumes any value, and validates it.
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
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		s.digits()
	}
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

// plain marks the bytes that stand for themselves in a string and are ASCII.
var plain = func() (table [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// plainRun returns the first position from pos on that is within eight bytes of one that is not plain. It looks at eight
// bytes at a time: in a word, (x - n·0x01…) &^ x has the high bit of the lowest byte set that is below n.
func plainRun(data []byte, pos int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; pos+8 <= len(data); pos += 8 {
		x := binary.LittleEndian.Uint64(data[pos:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		special := x | (x-ones*0x20)&^x | (quote-ones)&^quote | (backslash-ones)&^backslash
		if special&highs != 0 {
			break
		}
	}
	return pos
}

func (s *scanner) skipString() {
	data, pos := s.data, s.pos+1
	for pos < len(data) {
		if pos = plainRun(data, pos); pos == len(data) {
			break
		}
		switch c := data[pos]; {
		case plain[c] || c >= utf8.RuneSelf:
			pos++
		case c == '"':
			s.pos = pos + 1
			return
		case c == '\\':
			n := escapeLength(data[pos:])
			if n == 0 {
				s.fail()
				return
			}
			pos += n
		default:
			s.fail()
			return
		}
	}
	s.fail()
}

// escapeLength returns the length of the escape sequence at the start of b, or 0 if it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 decodes the four digits of the \u escape at the start of b, or returns -1.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

// str reads a string. The result is valid until the next reset.
func (s *scanner) str() []byte {
	start := s.pos + 1
	for pos := plainRun(s.data, start); pos < len(s.data); pos++ {
		c := s.data[pos]
		if plain[c] {
			continue
		}
		if c == '"' {
			s.pos = pos + 1
			return s.data[start:pos]
		}
		break
	}
	s.skipString()
	if s.bad {
		return nil
	}
	return s.unescape(s.data[start : s.pos-1])
}

// unescape resolves escapes as encoding/json does: lone surrogates and bytes that are no UTF-8 become U+FFFD.
// The text was validated by skipString.
func (s *scanner) unescape(text []byte) []byte {
	start := len(s.arena)
	for len(text) > 0 {
		switch c := text[0]; {
		case c == '\\' && text[1] == 'u':
			r, n := unicodeEscape(text)
			s.arena = utf8.AppendRune(s.arena, r)
			text = text[n:]
		case c == '\\':
			s.arena = append(s.arena, shortEscape(text[1]))
			text = text[2:]
		case c < utf8.RuneSelf:
			s.arena = append(s.arena, c)
			text = text[1:]
		default:
			r, n := utf8.DecodeRune(text)
			s.arena = utf8.AppendRune(s.arena, r)
			text = text[n:]
		}
	}
	return s.arena[start:len(s.arena):len(s.arena)]
}

// unicodeEscape decodes the \u escape, or the surrogate pair of two, at the start of text, and returns its length.
func unicodeEscape(text []byte) (r rune, n int) {
	r = hex4(text)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if pair := utf16.DecodeRune(r, hex4(text[6:])); pair != utf8.RuneError {
		return pair, 12
	}
	return utf8.RuneError, 6
}

func shortEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}
