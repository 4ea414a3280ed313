// SPDX-License-Identifier: Apache-2.0

package broker

import "strings"

// claim is what an exporter says to the others of its group.
type claim struct {
	kind kind
	id   string
}

type kind string

const (
	// take means: I count from here on, and nobody else.
	take kind = "take"
	// keep is a sign of life of the one that counts.
	keep kind = "keep"
	// leave means: I count, and another shall take over.
	leave kind = "leave"
	// ask is what a new one says, to hear whether another counts.
	ask kind = "ask"
)

// maxClaim bounds an id, in bytes.
const maxClaim = 64

func (c claim) bytes() []byte { return []byte(string(c.kind) + " " + c.id) }

func parseClaim(text []byte) (c claim, ok bool) {
	word, id, _ := strings.Cut(string(text), " ")
	c = claim{kind(word), id}
	switch c.kind {
	case take, keep, leave, ask:
		return c, id != "" && len(id) <= maxClaim
	}
	return claim{}, false
}
