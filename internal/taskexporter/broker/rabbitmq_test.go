// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

func TestDeliverHandsMessagesOver(t *testing.T) {
	deliveries := make(chan amqp.Delivery, 3)
	deliveries <- amqp.Delivery{Body: []byte("a"), ContentType: "Application/JSON", ContentEncoding: "utf-8"}
	long := strings.Repeat("x", 1000)
	deliveries <- amqp.Delivery{Body: []byte("b"), Headers: amqp.Table{"compression": "gzip"}, ContentType: long}
	deliveries <- amqp.Delivery{Body: make([]byte, maxElement+1), Headers: amqp.Table{"compression": 5}}
	close(deliveries)
	type message struct {
		Body   string
		Format wire.Format
	}
	var got []message
	drained := 0
	err := deliver(t.Context(), deliveries, Sink{
		Message: func(body []byte, format wire.Format) { got = append(got, message{string(body), format}) },
		Drained: func() { drained++ },
	})
	want := []message{
		{"a", wire.Format{ContentType: "application/json", ContentEncoding: "utf-8"}},
		{"b", wire.Format{ContentType: strings.Repeat("x", maxName), Compression: "gzip"}},
		{},
	}
	if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, errEnded) || drained != 1 {
		t.Errorf("error %v, drained %d times, want once at the end (-want +got):\n%s", err, drained, diff)
	}
}

func TestDeliverEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	drained := 0
	err := deliver(ctx, make(chan amqp.Delivery), Sink{Drained: func() { drained++; cancel() }})
	if !errors.Is(err, context.Canceled) || drained != 1 {
		t.Errorf("error %v, drained %d times, want once before it waits", err, drained)
	}
}
