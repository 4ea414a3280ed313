// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

func (b *bench) status() Status {
	b.t.Helper()
	response := b.get("/status")
	if got := response.Header().Get("Content-Type"); got != "application/json" {
		b.t.Errorf("content type %q", got)
	}
	var status Status
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&status); err != nil {
		b.t.Fatal(err)
	}
	return status
}

func TestStatusSaysWhatWorks(t *testing.T) {
	f := &fakeBroker{
		refuse:  fmt.Errorf("broadcast active_queues: %w", errRefused{}),
		lengths: func([]string) ([]broker.Depth, error) { return nil, errors.New(strings.Repeat("ö", maxReason)) },
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
		tooLong := "false " + strings.Repeat("ö", maxReason/2)
		want := map[string]string{
			"events": "true ", "depths": tooLong, "workers": "true ", "queue_lengths": tooLong, "unacked": tooLong,
			"inspect": "false broadcast active_queues: " + errRefused{}.Error(),
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Error(diff)
		}
		if got.EventsTotal != 1 || got.EventsLastMinute != 1 || got.Workers.Live != 1 || got.InspectedAt != nil {
			t.Errorf("status = %+v", got)
		}
		time.Sleep(time.Minute)
		if got := b.status(); got.EventsTotal != 1 || got.EventsLastMinute != 0 {
			t.Errorf("after a minute: %+v", got)
		}
	}, "-Q", "q")
}

func TestStatusNamesSomeWorkersWithoutEvents(t *testing.T) {
	b := newBench(t)
	for i := range 3 * maxNames {
		for round := range silentBeats + 1 {
			b.send(beat(fmt.Sprintf("w%02d@%s", i, strings.Repeat("host", 1000)), 1, round))
		}
	}
	got := b.status().Workers
	if got.EventsOff != 3*maxNames || len(got.EventsOffNames) != maxNames || !strings.HasPrefix(got.EventsOffNames[0],
		"w00@") {
		t.Errorf("workers = %+v", got)
	}
	if length := b.get("/status").Body.Len(); length > 4<<10 {
		t.Errorf("%d bytes", length)
	}
}
