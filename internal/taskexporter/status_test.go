// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/status"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

func (b *bench) status() status.Document {
	b.t.Helper()
	response := b.get("/status")
	if got := response.Header().Get("Content-Type"); got != "application/json" {
		b.t.Errorf("content type %q", got)
	}
	var document status.Document
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		b.t.Fatal(err)
	}
	return document
}

func TestStatusSaysWhatWorks(t *testing.T) {
	f := &fakeBroker{
		refuse:  fmt.Errorf("broadcast active_queues: %w", errRefused{}),
		lengths: func([]string) ([]broker.Depth, error) { return nil, errors.New(strings.Repeat("ö", status.MaxReason)) },
	}
	during(t, f, time.Minute, func(b *bench) {
		b.post(func(*tracker) { b.send(beat("w@host", 0, 0)) })
		time.Sleep(2 * time.Second)
		got := b.status()
		shown := map[string]string{}
		for _, state := range append(got.Connections, got.Questions...) {
			shown[state.Name] = fmt.Sprint(state.Up, " ", state.Reason)
			if state.Since.IsZero() {
				t.Errorf("%s is so since when?", state.Name)
			}
		}
		tooLong := "false " + strings.Repeat("ö", status.MaxReason/2)
		want := map[string]string{
			"events": "true ", "depths": tooLong, "workers": "true ", "queue_lengths": tooLong, "unacked": tooLong,
			"inspect": "false broadcast active_queues: " + errRefused{}.Error(),
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Error(diff)
		}
		if !got.BrokerReached || got.Unconsumed != nil {
			t.Errorf("broker reached: %v, unconsumed: %v", got.BrokerReached, got.Unconsumed)
		}
		if got.EventsTotal != 1 || got.EventsLastMinute != 1 || got.Workers.Live != 1 ||
			[...]*time.Time{got.RepliedAt, got.InspectedAt} != [2]*time.Time{} {
			t.Errorf("status = %+v", got)
		}
		time.Sleep(time.Minute)
		if got := b.status(); got.EventsTotal != 1 || got.EventsLastMinute != 0 {
			t.Errorf("after a minute: %+v", got)
		}
	}, "-Q", "q")
}

// TestStatusSaysWhenAWorkerReplied, also if another that counts as live does not.
func TestStatusSaysWhenAWorkerReplied(t *testing.T) {
	f := &fakeBroker{replies: func(r wire.Request) []broker.Reply {
		if !r.WantsReply {
			return nil
		}
		return []broker.Reply{{Method: r.Method, Body: []byte(`{"well@host": [{"name": "q"}]}`)}}
	}}
	during(t, f, time.Second, func(b *bench) {
		b.post(func(*tracker) { b.send(beat("well@host", 0, 0), beat("killed@host", 0, 0)) })
		time.Sleep(time.Minute)
		got := b.status()
		// The first round was before the exporter had heard of them.
		if got.RepliedAt == nil || got.InspectedAt != nil && got.RepliedAt.Sub(*got.InspectedAt) < 30*time.Second {
			t.Errorf("replied at %v, and all did at %v", got.RepliedAt, got.InspectedAt)
		}
	}, "-Q", "q")
}

// TestStatusSaysWhetherTheBrokerIsReached: one that refuses the subscription is.
func TestStatusSaysWhetherTheBrokerIsReached(t *testing.T) {
	for err, want := range map[error]bool{
		error(&broker.ConnectError{Err: errors.New("no route to host")}): false,
		error(errRefused{}): true,
	} {
		f := &fakeBroker{receive: func() error { return err }}
		during(t, f, time.Minute, func(b *bench) {
			got := b.status()
			if got.BrokerReached != want || got.Connections[0].Up || !strings.HasSuffix(got.Connections[0].Reason, err.Error()) {
				t.Errorf("%v: reached %v, connections %+v", err, got.BrokerReached, got.Connections)
			}
		})
	}
}

// newHostileBench has workers, queues and failures beyond all limits.
func newHostileBench(t *testing.T) *bench {
	b := newBench(t, "--max-label-length", "65536")
	text := strings.Repeat("\x1b[2J\u202e\"<&\x00\xff", 1000)
	for i := range 3 * status.MaxNames {
		node, err := json.Marshal(fmt.Sprintf("w%02d@%s", i, text))
		if err != nil {
			t.Fatal(err)
		}
		for round := range silentBeats + 1 {
			b.send(fmt.Sprintf(`{"type": "worker-heartbeat", "hostname": %s, "timestamp": %d, "processed": %d}`,
				node, start, round))
		}
		name := fmt.Sprintf("q%02d%s", i, text)
		b.tracker.queues.use(name, b.now)
		b.tracker.queues.set([]string{name}, []broker.Depth{{Messages: 1}}, b.now)
	}
	for _, state := range []*state{b.events, b.depthsLink, b.workersLink, b.lengths, b.unacked, b.workers} {
		state.fail(errors.New(text))
	}
	return b
}

// TestStatusIsBounded whatever comes from outside.
func TestStatusIsBounded(t *testing.T) {
	b := newHostileBench(t)
	got := b.status()
	if got.Workers.EventsOff != 3*status.MaxNames || len(got.Workers.EventsOffNames) != status.MaxNames ||
		!strings.HasPrefix(got.Workers.EventsOffNames[0], "w00@") {
		t.Errorf("workers = %+v", got.Workers)
	}
	if got.Unconsumed == nil || got.Unconsumed.Count != 3*status.MaxNames || len(got.Unconsumed.Names) != status.MaxNames {
		t.Errorf("unconsumed = %+v", got.Unconsumed)
	}
	text := b.get("/status").Body.String()
	if len(text) > status.MaxBytes {
		t.Errorf("%d bytes", len(text))
	}
	for _, r := range strings.TrimSuffix(text, "\n") {
		if !unicode.IsPrint(r) {
			t.Fatalf("it has %q", r)
		}
	}
	if strings.Contains(text, `\u`) {
		t.Errorf("it hides what is not printable: %s", text)
	}
}

// TestStatusNamesQueuesThatNobodyConsumes where messages wait, once it is known.
func TestStatusNamesQueuesThatNobodyConsumes(t *testing.T) {
	consumers := int64(-1)
	replies := func(request wire.Request) []broker.Reply {
		if request.Method != "active_queues" {
			return nil
		}
		return []broker.Reply{{Method: request.Method, Body: []byte(`{"w@host": [{"name": "consumed"}]}`)}}
	}
	f := &fakeBroker{replies: replies, lengths: func(queues []string) (depths []broker.Depth, err error) {
		for _, queue := range queues {
			depth := broker.Depth{Messages: 1, Consumers: consumers}
			if queue == "empty" {
				depth.Messages = 0
			}
			depths = append(depths, depth)
		}
		return depths, nil
	}}
	queues := []string{"-Q", "consumed,empty,typo"}
	unconsumed := func(b *bench, after time.Duration) *status.Queues {
		time.Sleep(after)
		return b.status().Unconsumed
	}
	want := &status.Queues{Count: 1, Names: []string{"typo"}}
	t.Run("Redis", func(t *testing.T) {
		during(t, f, time.Minute, func(b *bench) {
			if got := unconsumed(b, 0); got != nil {
				t.Errorf("before busy workers could be heard: %+v", got)
			}
			if diff := cmp.Diff(want, unconsumed(b, b.options.WorkerTimeout)); diff != "" {
				t.Error(diff)
			}
			b.post(func(*tracker) { b.send(beat("other@host", 0, 0)) })
			if got := unconsumed(b, time.Second); got != nil {
				t.Errorf("while a worker says nothing of its queues: %+v", got)
			}
		}, queues...)
	})
	t.Run("Redis, from workers that are never lost and send no heartbeats", func(t *testing.T) {
		during(t, f, time.Hour, func(b *bench) {
			if diff := cmp.Diff(want, unconsumed(b, 0)); diff != "" {
				t.Error(diff)
			}
		}, append(queues, "--worker-timeout", "0")...)
	})
	t.Run("Redis, without inspection", func(t *testing.T) {
		during(t, f, time.Hour, func(b *bench) {
			if got := unconsumed(b, 0); got != nil {
				t.Errorf("unconsumed = %+v", got)
			}
		}, append(queues, "--no-inspect")...)
	})
	t.Run("RabbitMQ", func(t *testing.T) {
		f.replies, consumers = nil, 0
		during(t, f, time.Minute, func(b *bench) {
			if diff := cmp.Diff(&status.Queues{Count: 2, Names: []string{"consumed", "typo"}}, unconsumed(b, 0)); diff != "" {
				t.Error(diff)
			}
			consumers = 1
			if diff := cmp.Diff(&status.Queues{}, unconsumed(b, time.Minute), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		}, append(queues, "--no-inspect")...)
	})
}

// TestTheAgeOfAnInspectionIsThatOfACompleteOne: it grows while a live worker does not reply.
func TestTheAgeOfAnInspectionIsThatOfACompleteOne(t *testing.T) {
	f := &fakeBroker{}
	during(t, f, 5*time.Second, func(b *bench) {
		between := func(least, most time.Duration) {
			t.Helper()
			age := 0.0
			for _, sample := range b.scrape("celery_exporter_inspection_age_seconds") {
				if _, err := fmt.Sscanf(sample, "celery_exporter_inspection_age_seconds %g", &age); err != nil {
					t.Fatal(err)
				}
			}
			if age < least.Seconds() || age > most.Seconds() {
				t.Errorf("age %v s, want %v to %v", age, least, most)
			}
		}
		between(time.Second, 5*time.Second)
		b.post(func(*tracker) { b.send(beat("w@host", 0, 0)) })
		time.Sleep(2 * time.Minute)
		between(2*time.Minute, 2*time.Minute+5*time.Second)
		f.replies = func(request wire.Request) []broker.Reply {
			body := `{"w@host": []}`
			if request.Method == "stats" {
				body = `{"w@host": {}}`
			}
			return []broker.Reply{{Method: request.Method, Body: []byte(body)}}
		}
		time.Sleep(2 * time.Minute)
		between(0, broadcastGap+2*time.Second)
	})
}
