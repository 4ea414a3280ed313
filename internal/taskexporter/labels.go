// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"unicode/utf8"
)

// maxInterned is how many label values are kept for reuse.
const maxInterned = 50_000

// interner turns bytes from outside into label values: cut to a length, and shared while they are in use often. It is
// emptied when it is full, which costs some memory for a while and never an answer.
type interner struct {
	maxLength int // bytes
	values    map[string]string
}

func newInterner(maxLength int) *interner {
	return &interner{maxLength: maxLength, values: map[string]string{}}
}

// label returns the value of a label. The look-up by bytes makes no string, so that a known name costs no allocation.
func (n *interner) label(raw []byte) string {
	raw = n.cut(raw)
	if value, known := n.values[string(raw)]; known {
		return value
	}
	// Names of a normal application never fill it; random ones from outside do, and then nothing is worth keeping.
	if len(n.values) >= maxInterned {
		n.empty()
	}
	value := string(raw)
	n.values[value] = value
	return value
}

// empty forgets the values. Those in use are kept by their users.
func (n *interner) empty() { n.values = map[string]string{} }

func (n *interner) cut(raw []byte) []byte { return cut(raw, n.maxLength) }

// cut shortens a text to a number of bytes without cutting a character in two.
func cut(raw []byte, end int) []byte {
	if len(raw) <= end {
		return raw
	}
	for end > 0 && !utf8.RuneStart(raw[end]) {
		end--
	}
	return raw[:end]
}

// hostOf returns the part of a node name behind the "@", all of it if there is none, as Celery's nodesplit does.
func hostOf(node []byte) []byte {
	if _, host, found := bytes.Cut(node, []byte("@")); found {
		return host
	}
	return node
}
