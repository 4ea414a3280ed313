// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/rand"
	"fmt"
)

// newID returns a random UUID, the form that kombu gives to queues, tickets and tags.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
