// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// dsnState is one DSN of one stack.
type dsnState struct {
	outcome judge.DSN
	// version of the Secret that was read, and digest of the DSN that was in it; empty before.
	version, digest string
	// fresh is set if somebody has said the outcome since it was reported.
	fresh bool
	// missed is set if there was no response the last time, or none is known for this DSN.
	missed bool
	// settings is the hash of the stack's settings at first sight. Where another process asked last,
	// it shows whether the DSN has changed since.
	settings string
	// next is when to ask again, and soonest when at the soonest.
	next, soonest time.Time
}

// dsnReply is what Sentry says of a DSN; none while it is being asked.
type dsnReply struct {
	digest  string
	outcome judge.DSN
	until   time.Time
}

// versionOf what a DSN is read from.
func versionOf(secret client.Object, ref desired.DSNRef) string {
	return fmt.Sprintf("%s/%s/%s", secret.GetUID(), secret.GetResourceVersion(), ref.Key)
}

// read a DSN.
func (d *dsnState) read(version, text string) {
	digest := desired.DigestOf(text)
	d.missed = d.missed || d.digest != "" && d.digest != digest
	d.version, d.digest = version, digest
}

// take a reply. That there was no response once changes nothing that is known of the DSN.
func (d *dsnState) take(reply dsnReply) {
	missed := reply.outcome == judge.DSNUnreachable
	if !missed || d.missed || d.outcome == 0 {
		d.outcome, d.fresh = reply.outcome, !missed
	}
	d.missed, d.next = missed, reply.until
}
