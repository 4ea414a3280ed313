// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"unicode/utf8"
)

// maxInterned is how many label values are kept for reuse.
const maxInterned = 50_000

// interner turns bytes from outside into label values: cut to a length, and shared while they are
// in use often. It is emptied when full, which costs memory for a while and never a count.
type interner struct {
	maxLength int // bytes
	values    map[string]string
}

func newInterner(maxLength int) *interner {
	return &interner{maxLength: maxLength, values: map[string]string{}}
}

// label returns the value of a label. The look-up by bytes makes no string, so that a known name
// costs no allocation.
func (n *interner) label(raw []byte) string {
	raw = n.cut(raw)
	if value, known := n.values[string(raw)]; known {
		return value
	}
	// Names of a normal application never fill it; random ones from outside do, and then nothing is
	// worth keeping.
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

// HostLabel is what the label hostname shows.
type HostLabel string

// Hosts in the label: the worker's host, in Kubernetes its Pod; what is before the "@" of a
// worker's node name, which is the same for all Pods of a Deployment; or nothing.
const (
	HostOfWorker HostLabel = "worker"
	HostByNode   HostLabel = "node"
	HostNone     HostLabel = "none"
)

// of returns the label of a worker.
func (l HostLabel) of(node []byte) []byte {
	before, host, found := bytes.Cut(node, []byte("@"))
	switch {
	case l == HostNone:
		return []byte(genericHost)
	// As Celery's nodesplit does.
	case l == HostByNode || !found:
		return before
	}
	return host
}
