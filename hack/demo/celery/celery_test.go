// SPDX-License-Identifier: Apache-2.0

package celery

import (
	"context"
	"testing"
	"time"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// TestApplicationSpeaksAsCelery reads all with what the task exporter reads Celery with.
func TestApplicationSpeaksAsCelery(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	application, err := Start(ctx, []string{"worker-1", "worker-2"})
	if err != nil {
		t.Fatal(err)
	}
	address, err := brokerurl.Parse(application.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := broker.New(address, broker.DefaultOptions(), nil)
	messages := make(chan wire.Event, 1000)
	receiving, done := context.WithCancel(ctx)
	received := make(chan struct{})
	subscribed := make(chan struct{}, 1)
	go func() {
		defer close(received)
		_ = b.Receive(receiving, sink(t, messages, subscribed)) // ends with the context
	}()
	<-subscribed

	missing := map[wire.Type]bool{
		wire.TaskSent: true, wire.TaskReceived: true, wire.TaskStarted: true, wire.TaskSucceeded: true,
		wire.TaskFailed: true, wire.TaskRetried: true, wire.WorkerHeartbeat: true,
	}
	awaitTypes(ctx, t, messages, missing)
	wantReplies(ctx, t, b)
	if err := application.Stop(); err != nil {
		t.Error(err)
	}
	awaitTypes(ctx, t, messages, map[wire.Type]bool{wire.WorkerOffline: true})
	done()
	<-received
}

// sink decodes what comes; what is malformed fails the test.
func sink(t *testing.T, events chan<- wire.Event, subscribed chan<- struct{}) broker.Sink {
	var decoder wire.Decoder
	return broker.Sink{
		Subscribed: func() { subscribed <- struct{}{} }, Turn: func(bool) {}, Drained: func() {},
		Message: func(message []byte, format wire.Format) {
			decoded, refused, err := decoder.Decode(message, format)
			if err != nil || refused > 0 {
				t.Errorf("%d events are refused: %v: %s", refused, err, message)
			}
			for _, e := range decoded {
				if e.Malformed > 0 {
					t.Errorf("%d fields are malformed: %s", e.Malformed, message)
				}
				if e.Type == wire.TaskFailed && string(e.Exception) != "SMTPServerDisconnected" {
					t.Errorf("the exception of a failed task is %q: %s", e.Exception, message)
				}
				events <- wire.Event{Type: e.Type}
			}
		},
	}
}

// awaitTypes reads events until each type has come.
func awaitTypes(ctx context.Context, t *testing.T, events <-chan wire.Event, missing map[wire.Type]bool) {
	t.Helper()
	for len(missing) > 0 {
		select {
		case e := <-events:
			delete(missing, e.Type)
		case <-ctx.Done():
			t.Fatalf("no events of the types %v", missing)
		}
	}
}

// wantReplies asks all workers what the exporter asks them.
func wantReplies(ctx context.Context, t *testing.T, b broker.Broker) {
	t.Helper()
	workers, err := b.Workers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer workers.Close()
	var requests []wire.Request
	for _, method := range []string{"active_queues", "stats", "active", "reserved", "scheduled"} {
		requests = append(requests, wire.Request{Application: "celery", Method: method, WantsReply: true})
	}
	replies := map[string]int{}
	err = workers.Ask(ctx, requests, func(r broker.Reply) {
		replies[r.Method]++
		wantUnderstood(t, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests {
		if replies[request.Method] != 2 {
			t.Errorf("%d workers reply to %s, want 2", replies[request.Method], request.Method)
		}
	}
}

func wantUnderstood(t *testing.T, r broker.Reply) {
	t.Helper()
	switch r.Method {
	case "active_queues":
		if all, err := wire.ParseActiveQueues(r.Body); err != nil || len(first(all)) != len(queues) {
			t.Errorf("active_queues: %v, %v", all, err)
		}
	case "stats":
		if all, err := wire.ParseStats(r.Body); err != nil || first(all).Processes() != concurrency {
			t.Errorf("stats: %v, %v", all, err)
		}
	default:
		if _, err := wire.ParseTasks(r.Body); err != nil {
			t.Errorf("%s: %v", r.Method, err)
		}
	}
}

func first[T any](all map[string]T) (one T) {
	for _, one = range all {
		break
	}
	return one
}
