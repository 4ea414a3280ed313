// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// TestABrokerThatRefusesIsLeftAlone: from the fifth failure on there is at most one connection a
// minute.
func TestABrokerThatRefusesIsLeftAlone(t *testing.T) {
	for name, err := range map[string]error{
		"login":     &broker.ConnectError{Err: errRefused{}},
		"subscribe": fmt.Errorf("receive: %w", errRefused{}),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeBroker{receive: func() error { return err }}
			if name == "login" {
				f.away = err
			}
			during(t, f, time.Hour, nil)
			// Where the user may log in, the two connections for questions are made once.
			allowed := 5 + 60 + 2
			if got := len(f.connects); got > allowed || got < 30 {
				t.Errorf("%d connections in an hour, want up to %d", got, allowed)
			}
		})
	}
}

// errRefused is a reply of Redis.
type errRefused struct{}

func (errRefused) Error() string {
	return "NOPERM User x has no permissions to run the 'publish' command"
}
func (errRefused) RedisError() {}

func TestEachQuestionFailsAlone(t *testing.T) {
	f := &fakeBroker{
		refuse:  fmt.Errorf("broadcast active_queues: %w", errRefused{}),
		unacked: func() (int64, error) { return 0, errRefused{} },
		lengths: func(queues []string) ([]broker.Depth, error) {
			return slices.Repeat([]broker.Depth{{Messages: 3, Consumers: -1}}, len(queues)), nil
		},
	}
	during(t, f, time.Hour, func(b *bench) {
		b.want("celery_queue_length", `celery_queue_length{queue_name="q"} 3`)
		b.want("celery_unacked")
		b.want("celery_exporter_control_up", `celery_exporter_control_up{question="queue_lengths"} 1`)
		body := b.get("/ready").Body.String()
		if !strings.Contains(body, "inspect: ") || !strings.Contains(body, "unacked: ") ||
			strings.Contains(body, "queue_lengths: ") {
			t.Errorf("/ready says %q", body)
		}
	}, "-Q", "q")
	if got := len(f.connects); got != 3 {
		t.Errorf("%d connections, want 3", got)
	}
	if got := len(f.asked["heartbeat"]); got > 65 {
		t.Errorf("%d broadcasts in an hour", got)
	}
}

// TestQuestionsFollowTheSubscription to whichever server it is made with, and are not asked more
// often for that.
func TestQuestionsFollowTheSubscription(t *testing.T) {
	f := &fakeBroker{lasts: 10 * time.Second}
	during(t, f, 5*time.Minute, nil)
	if got := len(f.connects); f.subscribed < 10 || got < 3*(f.subscribed-1) || got > 3*f.subscribed {
		t.Errorf("%d connections, want three for each of %d subscriptions", got, f.subscribed)
	}
	for method, times := range f.asked {
		if len(times) > 11 {
			t.Errorf("%s is broadcast %d times in five minutes", method, len(times))
		}
	}
}

func TestALostConnectionFailsItsQuestions(t *testing.T) {
	f := &fakeBroker{}
	during(t, f, time.Minute, func(b *bench) {
		if got := len(b.scrape("celery_exporter_control_up")); got != 3 {
			t.Errorf("%d questions work, want 3", got)
		}
		f.away = &broker.ConnectError{Err: errors.New("no route to host")}
		f.unacked = func() (int64, error) { return 0, errors.New("broken pipe") }
		time.Sleep(time.Minute)
		b.want("celery_exporter_control_up", `celery_exporter_control_up{question="inspect"} 1`)
		b.want(
			"celery_exporter_connection_up",
			`celery_exporter_connection_up{connection="events"} 1`,
			`celery_exporter_connection_up{connection="workers"} 1`,
		)
		b.want("celery_queue_length")
	}, "-Q", "q")
}

func TestQueuesThatCannotBeReadAreAbsentAndCounted(t *testing.T) {
	asked := map[string]int{}
	f := &fakeBroker{lengths: func(queues []string) (depths []broker.Depth, _ error) {
		for _, queue := range queues {
			asked[queue]++
			depths = append(depths, map[string]broker.Depth{
				"good":   {Messages: 3, Consumers: 1},
				"locked": {Err: errRefused{}},
				// As RabbitMQ replies where the queue's node is away.
				"down":    {Err: &amqp.Error{Code: amqp.NotFound, Reason: "home node of the queue is down"}},
				"missing": {Missing: true},
			}[queue])
		}
		return depths, nil
	}}
	during(t, f, 10*time.Minute, func(b *bench) {
		text := b.metricsText()
		for _, line := range []string{
			`celery_queue_length{queue_name="missing"} 0`, `celery_queue_length{queue_name="good"} 3`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s is missing", line)
			}
		}
		if strings.Contains(text, `celery_queue_length{queue_name="locked"}`) {
			t.Error("the length of a queue that cannot be read is shown")
		}
		b.want("celery_exporter_control_up{question=\"queue_lengths\"}")
		if got := b.scrape("celery_exporter_control_errors_total"); len(got) != 1 {
			t.Errorf("errors = %v", got)
		}
	}, "-Q", "down,good,locked,missing")
	if len(f.connects) != 3 {
		t.Errorf("%d connections, want one for each purpose", len(f.connects))
	}
	// RabbitMQ closes a channel for each of these, and writes a line in its log.
	if asked["good"] < 60 || asked["locked"] > 16 || asked["missing"] > 27 || asked["missing"] < 18 {
		t.Errorf("asked in ten minutes: %v", asked)
	}
}

// TestAMissingQueueIsReadSoonAfterSomebodyNamesIt, and not at each event that names one of another
// virtual host.
func TestAMissingQueueIsReadSoonAfterSomebodyNamesIt(t *testing.T) {
	b := newBench(t)
	q := b.tracker.queues
	q.use("emails", b.now)
	for range 10 {
		q.set([]string{"emails"}, []broker.Depth{{Missing: true}}, b.now)
	}
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{{10 * time.Second, nil}, {6 * time.Second, []string{"emails"}}} {
		b.now = b.now.Add(step.after)
		q.use("emails", b.now)
		if got := q.due(b.now); !slices.Equal(got, step.want) {
			t.Errorf("due = %q, want %q", got, step.want)
		}
	}
	q.set([]string{"emails"}, []broker.Depth{{Missing: true}}, b.now)
	if got := q.due(b.now.Add(missingPause)); len(got) != 1 {
		t.Errorf("due = %q after the longest pause, want the queue", got)
	}
}

// TestStartingWorkersAreGathered: whatever workers do, each question is broadcast once in thirty
// seconds at most.
func TestStartingWorkersAreGathered(t *testing.T) {
	f := &fakeBroker{}
	started := 0
	f.replies = func(r wire.Request) []broker.Reply {
		if !r.WantsReply {
			return nil
		}
		return []broker.Reply{{Method: r.Method, Body: []byte(`{"old@host": [{"name": "q"}]}`)}}
	}
	// However short the interval.
	during(t, f, time.Second, func(b *bench) {
		b.post(func(*tracker) { b.send(beat("old@host", 0, 0)) })
		for range 600 {
			b.post(func(*tracker) {
				b.send(
					event("worker-online", fmt.Sprintf("w%d@host", started), 0, ""),
					event("worker-online", "w@restarts", 0, ""),
				)
			})
			started++
			time.Sleep(time.Second)
		}
	}, "--inspect-interval", "5")
	for method, times := range f.asked {
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < broadcastGap {
				t.Errorf("%s is broadcast again after %v", method, gap)
			}
		}
	}
	if got := len(f.asked["active"]); got < 15 || got > 22 {
		t.Errorf("workers were greeted %d times in ten minutes", got)
	}
	if got := f.last["scheduled"].Destination; len(got) < 30 || slices.Contains(got, "old@host") {
		t.Errorf("scheduled tasks are asked of %v", got)
	}
	if got := len(f.asked["heartbeat"]); got != 1 {
		t.Errorf("%d broadcasts of heartbeat", got)
	}
}

func TestRepliesThatCannotBeReadShowNothing(t *testing.T) {
	f := &fakeBroker{replies: func(r wire.Request) []broker.Reply {
		return []broker.Reply{{Method: r.Method, Err: wire.ErrContentType}}
	}}
	during(t, f, time.Second, func(b *bench) {
		b.post(func(*tracker) { b.send(beat("w@host", 0, 0)) })
		time.Sleep(time.Minute)
		if text := b.metricsText(); strings.Contains(text, "celery_active_worker_count{") ||
			strings.Contains(text, "celery_active_process_count{") {
			t.Error("zero workers are shown where nothing is known")
		}
		b.want("celery_exporter_control_up{question=\"inspect\"}")
		if got := b.scrape(`celery_exporter_malformed_total{reason="content_type"}`); len(got) != 1 {
			t.Errorf("not counted: %v", got)
		}
		if got := b.scrape(`celery_exporter_worker_replies_missing_total`); len(got) != 1 {
			t.Errorf("missing replies are not counted: %v", got)
		}
	}, "-Q", "q")
	if got := len(f.connects); got != 3 {
		t.Errorf("%d connections, want 3", got)
	}
}

func TestAReplyMayComeBeforeTheFirstHeartbeat(t *testing.T) {
	b := newBench(t)
	b.tracker.now = b.now
	for _, node := range []string{"w@host", strings.Repeat("w", 300) + "@long"} {
		b.tracker.learnQueues(map[string][]wire.Queue{node: {{Name: "emails"}}})
		b.send(beat(node, 0, 0))
	}
	b.want("celery_active_worker_count", `celery_active_worker_count{queue_name="emails"} 2`)
}

func TestGeneratedQueuesAreSkipped(t *testing.T) {
	b := newBench(t, "-Q", "bcast.6f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b")
	b.tracker.now = b.now
	b.send(beat("w@host", 0, 0))
	b.tracker.learnQueues(map[string][]wire.Queue{"w@host": {
		{
			Name: "emails",
		}, {Name: "bcast.6f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b"}, {Name: "bcast.0f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b"},
		{Name: "w@host.dq"},
		{Name: "celery@host.celery.pidbox"}, {Name: "amq.gen-JzTY20BRgKO-HjmUJj0wLg"}, {Name: "x.dq"},
		{Name: "tenant.0f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b"},
	}})
	want := []string{
		"bcast.6f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b", "emails", "tenant.0f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b", "x.dq",
	}
	if diff := cmp.Diff(want, b.tracker.queues.due(b.now)); diff != "" {
		t.Error(diff)
	}
}

func TestUnusedQueuesAreForgotten(t *testing.T) {
	b := newBench(t, "-Q", "configured")
	q := b.tracker.queues
	names := []string{"busy", "configured", "consumed", "idle", "missing"}
	b.send(beat("w@host", 0, 0))
	b.tracker.learnQueues(map[string][]wire.Queue{"w@host": {{Name: "consumed"}}})
	for _, name := range names {
		q.use(name, b.now)
	}
	pass := func(span time.Duration) []string {
		for end := b.now.Add(span); b.now.Before(end); {
			b.wait(time.Minute)
			b.send(beat("w@host", 0, 0))
			q.set([]string{"busy", "missing"}, []broker.Depth{{Messages: 1}, {Missing: true}}, b.now)
		}
		var known []string
		for name := range q.depths() {
			known = append(known, name)
		}
		slices.Sort(known)
		return known
	}
	if diff := cmp.Diff([]string{"busy", "configured", "consumed", "idle"}, pass(12*time.Minute)); diff != "" {
		t.Errorf("after the worker's purge time: %s", diff)
	}
	if diff := cmp.Diff([]string{"busy", "configured", "consumed"}, pass(24*time.Hour)); diff != "" {
		t.Errorf("after a day: %s", diff)
	}
}

// TestQueuesBeyondTheLimitFindRoomAgain: what somebody sent once to thousands of queues does not
// stay in the way.
func TestQueuesBeyondTheLimitFindRoomAgain(t *testing.T) {
	b := newBench(t)
	for i := range maxQueues + 1 {
		b.tracker.queues.use(fmt.Sprint("random", i), b.now)
	}
	b.wait(11 * time.Minute)
	b.tracker.queues.use("emails", b.now)
	if got := b.tracker.queues.due(b.now); !cmp.Equal(got, []string{"emails"}, cmpopts.EquateEmpty()) {
		t.Errorf("%d queues, want emails alone", len(got))
	}
}

func TestACauseIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	s := newState("question", "inspect", textLog(&log))
	for range 10 {
		s.fail(errRefused{})
	}
	s.fail(errors.New("another cause"))
	s.succeed()
	s.fail(errors.New("another cause"))
	if got := strings.Count(log.String(), "\n"); got != 4 {
		t.Errorf("%d lines, want 4:\n%s", got, &log)
	}
}
