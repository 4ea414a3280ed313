// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ClaimType is the content type under which claims of other exporters, and our own, are handed to
// the sink, in the order in which the broker has them among the events.
const ClaimType = "application/vnd.obstack.claim"

// Claim is how an exporter says over the broker that it counts: from the place on where the claim
// stands among the events, or, as a sign of life, still.
type Claim struct {
	ID   string
	Keep bool
}

// Bytes returns the claim as it is on the wire.
func (c Claim) Bytes() []byte {
	if c.Keep {
		return []byte("keep " + c.ID)
	}
	return []byte("take " + c.ID)
}

// ParseClaim reads a claim.
func ParseClaim(text []byte) (claim Claim, ok bool) {
	kind, id, found := strings.Cut(string(text), " ")
	ok = found && id != "" && len(id) <= maxClaim && (kind == "take" || kind == "keep")
	return Claim{ID: id, Keep: kind == "keep"}, ok
}

// maxClaim bounds an id, in bytes.
const maxClaim = 64

// errNoClaims is returned where the broker's user may not subscribe to claims.
var errNoClaims = errors.New("the broker's user may not use the channel")

// claimChannel is the channel of the exporters that take over from each other, empty for none.
func (b *redisBroker) claimChannel() string {
	if b.options.Handover == "" || b.noClaims.Load() {
		return ""
	}
	return b.channel("obstack.handover." + b.options.Handover)
}

// Claim publishes on the claims' channel.
func (b *redisBroker) Claim(ctx context.Context, claim Claim) error {
	channel := b.claimChannel()
	if channel == "" {
		return errNoClaims
	}
	client, err := b.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Publish(ctx, channel, claim.Bytes()).Err(); err != nil {
		return fmt.Errorf("publish on %s: %w", channel, err)
	}
	return nil
}
