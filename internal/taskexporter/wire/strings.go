// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// plain marks the bytes that stand for themselves in a string and are ASCII.
var plain = func() (table [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// plainRun returns the first position from pos on that is within eight bytes of one that is not
// plain. It looks at eight bytes at a time: in a word, (x - n·0x01…) &^ x has the high bit of the
// lowest byte set that is below n.
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

// skipString finds the end of a string and checks its escapes. UTF-8 is not checked: most strings
// are never looked at, and those that are get repaired by unescape.
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

// unescape resolves escapes as encoding/json does: lone surrogates and bytes that are no UTF-8
// become U+FFFD. The text was validated by skipString.
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
			// Prometheus refuses a whole scrape for one label value that is not UTF-8.
			r, n := utf8.DecodeRune(text)
			s.arena = utf8.AppendRune(s.arena, r)
			text = text[n:]
		}
	}
	return s.arena[start:len(s.arena):len(s.arena)]
}

// unicodeEscape decodes the \u escape, or the surrogate pair of two, at the start of text, and
// returns its length.
func unicodeEscape(text []byte) (r rune, n int) {
	r = hex4(text)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	// A task name with half a pair is valid JSON, and made every later scrape of the peer fail.
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
