// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A secret is written in many ways: in JSON, in JSON in JSON, quoted by Go or Python or YAML, in
// URLs. Instead of searching for each of them, texts and secrets are brought into one form that
// all of them have in common, and found there.

// form is a text in which secrets are searched for. Its byte i stands for that of the original from
// from[i] to to[i]; where these are nil, it is the original.
type form struct {
	text     []byte
	from, to []int32
}

// span is a part of a text.
type span struct{ from, to int }

// original part of a text for one of a form.
func (f *form) original(s span) span {
	s = span{max(0, s.from), min(len(f.text), s.to)}
	if f.from == nil {
		return s
	}
	return span{int(f.from[s.from]), int(f.to[s.to-1])}
}

// unescape undoes what JSON, programming languages, YAML and URLs do to a text, however often they
// did. Backslashes and quotes go; white space, + and - are the same, as are / and _, for URLs write
// blanks as +, and base64 has two alphabets.
func unescape(text string) form {
	f := form{make([]byte, 0, len(text)), make([]int32, 0, len(text)), make([]int32, 0, len(text))}
	for i := 0; i < len(text); {
		size, decoded := byteOfURL(text[i:])
		if decoded[0] == '\\' {
			size, decoded = backslashes(text[i:])
		}
		for _, b := range []byte(decoded) {
			switch b {
			case '"', '\'', '\\':
				continue
			case ' ', '\t', '\n', '\r', '+':
				b = '-'
			case '_':
				b = '/'
			}
			f.text = append(f.text, b)
			f.from, f.to = append(f.from, int32(i)), append(f.to, int32(i+size)) // #nosec G115 -- files are bounded
		}
		i += size
	}
	return f
}

// backslashes decodes an escape, and how long it is. It may have been escaped again, which doubles
// its backslashes.
func backslashes(text string) (size int, decoded string) {
	for size < len(text) {
		next, b := byteOfURL(text[size:])
		if b[0] != '\\' {
			break
		}
		size += next
	}
	rest := text[size:]
	if rest == "" {
		return size, ""
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[0]]
	switch {
	case digits > 0 && len(rest) > digits:
		code, err := strconv.ParseUint(rest[1:1+digits], 16, 32)
		switch {
		case err != nil:
			return size, ""
		case digits == 2:
			return size + 3, string([]byte{byte(code)})
		}
		return size + 1 + digits, string(rune(code)) // #nosec G115 -- of 32 bits
	case strings.IndexByte("nrt", rest[0]) >= 0:
		return size + 1, " "
	}
	return size, ""
}

// byteOfURL decodes the first byte of a text, and how long it is. It may have been escaped again,
// which puts 25 before its digits.
func byteOfURL(text string) (size int, decoded string) {
	if text[0] != '%' {
		return 1, text[:1]
	}
	rest := text[1:]
	for strings.HasPrefix(rest, "25") && len(rest) >= 4 && isHex(rest[2:4]) {
		rest = rest[2:]
	}
	if len(rest) < 2 || !isHex(rest[:2]) {
		return 1, "%"
	}
	code, _ := hex.DecodeString(rest[:2]) // it is hex
	return len(text) - len(rest) + 2, string(code)
}

func isHex(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil
}

// needle is what is searched for in a form.
type needle struct {
	text string
	// whole reports whether it is a word of its own alone.
	whole bool
	// before and after are how many bytes around it hold a part of the secret as well.
	before, after int
	// shorter is the index of the longest other one that it begins with; -1 if there is none.
	shorter int
}

// encodings of a value in the form of unescape: base64, which looks different after one, two and
// three bytes of something else, and hex.
func encodings(value string) (found []needle) {
	add := func(n needle) {
		if len(n.text) >= shortestCode {
			found = append(found, n)
		}
	}
	for shift := range 3 {
		code := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
		n := needle{}
		if shift > 0 { // These bits are of the byte before.
			code, n.before = code[shift+1:], 1
		}
		if (shift+len(value))%3 > 0 { // These are of the byte behind.
			code, n.after = code[:len(code)-1], 1
		}
		n.text = string(unescape(code).text)
		add(n)
	}
	code := hex.EncodeToString([]byte(value))
	add(needle{text: code})
	add(needle{text: strings.ToUpper(code)})
	return found
}

// needles by how they begin, sorted.
type needles map[string][]needle

func (n needles) add(one needle) {
	if len(one.text) >= shortest {
		n[one.text[:shortest]] = append(n[one.text[:shortest]], one)
	}
}

// sort them, and link each to the longest other one that it begins with.
func (n needles) sort() {
	for _, list := range n {
		slices.SortFunc(list, func(a, b needle) int { return strings.Compare(a.text, b.text) })
		above := -1
		for i := range list {
			for above >= 0 && !strings.HasPrefix(list[i].text, list[above].text) {
				above = list[above].shorter
			}
			list[i].shorter = above
			above = i
		}
	}
}

// find all needles in a form, as parts of the original.
func (n needles) find(in form) (found []span) {
	for i := 0; i+shortest <= len(in.text); i++ {
		list := n[string(in.text[i:i+shortest])]
		if list == nil {
			continue
		}
		rest := in.text[i:]
		// Those that the rest begins with are the last one which is not behind it, or those that this
		// one begins with.
		at := sort.Search(len(list), func(j int) bool {
			return list[j].text > string(rest[:min(len(rest), len(list[j].text))])
		}) - 1
		for ; at >= 0; at = list[at].shorter {
			one := &list[at]
			place := span{i, i + len(one.text)}
			if bytes.HasPrefix(rest, []byte(one.text)) && (!one.whole || in.isWord(place)) {
				found = append(found, in.original(span{place.from - one.before, place.to + one.after}))
			}
		}
	}
	return found
}

// replaceSpans by what stands for secrets. Where two overlap, both go.
func replaceSpans(text string, spans []span) string {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	var out strings.Builder
	done := 0
	for i := 0; i < len(spans); {
		whole := spans[i]
		for i++; i < len(spans) && spans[i].from < whole.to; i++ {
			whole.to = max(whole.to, spans[i].to)
		}
		out.WriteString(text[done:whole.from] + redacted)
		done = whole.to
	}
	out.WriteString(text[done:])
	return out.String()
}

// isWord reports whether no letter or digit is beside a part of a form.
func (f *form) isWord(s span) bool {
	apart := func(left, right int) bool {
		return left < 0 || right == len(f.text) || f.from != nil && f.to[left] < f.from[right] ||
			!isAlphanumeric(f.text[left]) || !isAlphanumeric(f.text[right])
	}
	return apart(s.from-1, s.from) && apart(s.to-1, s.to)
}

func isAlphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
