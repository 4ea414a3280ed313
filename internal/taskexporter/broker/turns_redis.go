// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errNoChannel is returned where the broker's user may not subscribe to the group's channel.
var errNoChannel = errors.New("the user may not subscribe to the channel; start the exporter again once it may")

// groupChannel is where exporters of a group speak to each other, empty without one.
func (b *redisBroker) groupChannel() string {
	if b.options.Handover == "" {
		return ""
	}
	return b.channel("obstack.handover." + b.options.Handover)
}

// TakeTurns publishes on the group's channel what is due.
func (b *redisBroker) TakeTurns(ctx context.Context, spoken func()) error {
	for ctx.Err() == nil {
		err := b.speak(ctx, spoken)
		unreachable := (*ConnectError)(nil)
		switch {
		case err == nil:
		case Refused(err) && !errors.As(err, &unreachable):
			b.turns.refused(err)
			return fmt.Errorf("this exporter counts for itself, whatever others of its group do: %w", err)
		default:
			return err
		}
	}
	return ctx.Err()
}

// speak works on one connection for as long as one subscription lasts: after it there may be
// another server.
func (b *redisBroker) speak(ctx context.Context, spoken func()) error {
	session, err := b.turns.await(ctx)
	if err != nil {
		return err
	}
	channel := b.groupChannel()
	if b.deaf.Load() {
		return fmt.Errorf("%s: %w", channel, errNoChannel)
	}
	client, err := b.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ticker := time.NewTicker(repeatEvery / 2)
	defer ticker.Stop()
	for b.turns.session() == session {
		if c, due := b.turns.due(time.Now()); due {
			reached, err := client.Publish(ctx, channel, c.bytes()).Result()
			if err != nil {
				return fmt.Errorf("publish on %s: %w", channel, err)
			}
			b.turns.said(c, reached)
			spoken()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.turns.wake:
		case <-ticker.C:
		}
	}
	return nil
}

// takeoverTime is how long an exporter that is to end waits for another to take over.
const takeoverTime = 2 * time.Second

// Leave asks another to take over.
func (b *redisBroker) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, takeoverTime)
	defer cancel()
	released, alone := b.turns.end()
	select {
	case <-released:
	case <-ctx.Done():
	}
	return alone
}
