// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/status"
)

// counting reports whether the exporter is the one of its group that counts.
func (e *running) counting() bool {
	document, err := e.document()
	return err == nil && document.Counting
}

func (e *running) document() (document status.Document, err error) {
	response, err := http.Get(e.url + "/status")
	if err != nil {
		return document, err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(response.Body, status.MaxBytes))
	decoder.DisallowUnknownFields()
	return document, decoder.Decode(&document)
}

// body returns the response to a path.
func (e *running) body(path string) string {
	e.t.Helper()
	response, err := http.Get(e.url + path)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(text)
}

// oneCounts waits until one of two goes on counting, and returns it, and the other. Two that take
// at the same time may change once more.
func oneCounts(t *testing.T, a, b *running) (counts, standby *running) {
	t.Helper()
	since := time.Now()
	eventually(t, "one of two counts for two seconds", func() bool {
		first, second := a.counting(), b.counting()
		if first == second || first != (counts == a) {
			since = time.Now()
		}
		counts, standby = b, a
		if first {
			counts, standby = a, b
		}
		return time.Since(since) > 2*time.Second
	})
	return counts, standby
}

// twoOfAGroup checks that two exporters count everything once, that one that starts and dies again
// and again takes nothing from one that lives, and that the last one alive counts.
func twoOfAGroup(t *testing.T, broker string, s *stream) {
	args := []string{"--handover", "shop", "--no-inspect"}
	first := startReady(t, broker, args...)
	eventually(t, "the first one counts", first.counting)
	s.run(t)
	for range 2 {
		crashes := startReady(t, broker, args...)
		crashes.Kill()
	}
	second := startReady(t, broker, args...)
	time.Sleep(2 * time.Second)
	sent := s.end(t)
	eventually(t, "the first one counts all", func() bool { return tasks(first) == sent })
	if got := tasks(second); got != 0 || second.counting() || second.scrape()["celery_worker_up"] != nil {
		t.Errorf("the second one counts %v events, or shows gauges", got)
	}
	if got := second.body("/ready"); !strings.Contains(got, "standby") {
		t.Errorf("/ready of the second one says %q", got)
	}
	first.Kill()
	eventually(t, "the second one counts", second.counting)
}

// tasks returns how many events of tasks an exporter has counted.
func tasks(e *running) (sum float64) {
	for name, n := range e.counts("celery_task_") {
		if !strings.Contains(name, "time{") { // histograms
			sum += n
		}
	}
	return sum
}

func TestTurnsOnRedis(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	client := redisAt(t, port, "")
	url := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	twoOfAGroup(t, url, redisStream(client, 1000))
	t.Run("although the server restarts meanwhile", turnsOutliveTheServer)
	t.Run("until a second signal", func(t *testing.T) {
		e := startReady(t, url, "--handover", "hurry")
		eventually(t, "it counts", e.counting)
		e.Signal(syscall.SIGTERM)
		time.Sleep(time.Second)
		if e.ended() {
			t.Fatal("it has ended before it was scraped")
		}
		if took := e.terminate(); took > 5*time.Second {
			t.Errorf("it took %v to end", took)
		}
	})
	t.Run("after all connections were lost", func(t *testing.T) {
		a, b := startReady(t, url, "--handover", "other"), startReady(t, url, "--handover", "other")
		if err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range []*running{a, b} {
			eventually(t, "it subscribes again", func() bool { return e.one("celery_exporter_reconnects_total") == 1 })
		}
		counts, standby := oneCounts(t, a, b)
		counts.hears(client)
		if !counts.counting() || standby.counting() {
			t.Error("it changes again")
		}
	})
}

// turnsOutliveTheServer checks that a turn is handed over when the server goes away and comes back
// while it is.
func turnsOutliveTheServer(t *testing.T) {
	port := freePort(t)
	server := startRedis(t, port)
	url := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	old := startReady(t, url, "--handover", "shop", "--no-inspect")
	eventually(t, "the old one counts", old.counting)
	next := startReady(t, url, "--handover", "shop", "--no-inspect")
	server.stop(syscall.SIGKILL)
	old.Signal(syscall.SIGTERM)
	time.Sleep(3 * time.Second) // longer than the old one waits for another
	startRedis(t, port)
	eventually(t, "the next one counts", next.counting)
	next.hears(redisAt(t, port, ""))
	eventually(t, "the old one counts no more", func() bool { return !old.counting() })
	eventually(t, "it ends when it was scraped", func() bool {
		old.status("/metrics")
		return old.ended()
	})
}

// endsWhenScraped asks an exporter to end that was never scraped, and scrapes it once it counts no
// more.
func (e *running) endsWhenScraped() {
	e.t.Helper()
	e.Signal(syscall.SIGTERM)
	eventually(e.t, "another has taken over", func() bool { return !e.counting() })
	time.Sleep(5 * time.Second) // for events that wait for the names of their tasks
	if e.ended() {
		e.t.Fatal("it has ended before it was scraped")
	}
	e.scrape()
	eventually(e.t, "it ends", e.ended)
}

func (e *running) ended() bool {
	select {
	case <-e.Ended:
		return true
	default:
		return false
	}
}

func TestTurnsOnRabbitMQ(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	server.ctl(t, "add_user", "exporter", "pw")
	server.allow(t)
	restricted := fmt.Sprintf("amqp://exporter:pw@127.0.0.1:%d/shop", server.Port)
	twoOfAGroup(t, restricted, rabbitStream(t, server.URL("shop"), 1000))
	// One that comes back finds another that counts, and does not go on.
	t.Run("after its connection was lost", func(t *testing.T) {
		a := startReady(t, restricted, "--handover", "other", "--no-inspect", "--no-queue-lengths")
		eventually(t, "the first one counts", a.counting)
		b := startReady(t, server.URL("shop"), "--handover", "other", "--no-inspect", "--no-queue-lengths")
		server.ctl(t, "close_all_user_connections", "exporter", "test")
		eventually(t, "it subscribes again", func() bool { return a.one("celery_exporter_reconnects_total") >= 1 })
		counts, standby := oneCounts(t, a, b)
		time.Sleep(3 * time.Second)
		if !counts.counting() || standby.counting() {
			t.Error("it changes again")
		}
	})
	t.Run("that begins when the exporter is to end", func(t *testing.T) {
		turnThatBeginsAtTheEnd(t, server)
	})
}

// turnThatBeginsAtTheEnd checks that what the server has sent to a far exporter is counted,
// although the exporter is to end before it hears that its turn has begun.
func turnThatBeginsAtTheEnd(t *testing.T, server rabbit) {
	args := []string{"--handover", "late", "--no-inspect", "--no-queue-lengths"}
	first := startReady(t, server.URL("shop"), args...)
	eventually(t, "the first one counts", first.counting)
	p := startProxy(t, server.Port)
	far := startReady(t, fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/shop", p.port), args...)
	p.moveAway(time.Second)
	channel := channelOf(t, server.URL("shop"))
	consumers := func(want int) func() bool {
		return func() bool {
			queue, err := channel.QueueDeclarePassive("celeryev.obstack.late", true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			return queue.Consumers == want
		}
	}
	first.Kill()
	// The far one asks for its turn two seconds later at the earliest.
	eventually(t, "the server knows that the first one is gone", consumers(0))
	const sent = 100
	message := amqp.Publishing{ContentType: "application/json", Body: started(sent)}
	if err := channel.PublishWithContext(t.Context(), "celeryev", "task.multi", false, false, message); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server sends", consumers(1))
	far.Signal(syscall.SIGTERM)
	eventually(t, "what was sent is counted", func() bool { return total(far.counts("celery_exporter_events")) == sent })
}

// TestTurnsOnRabbitMQFollowTheExchange: the group's queue outlives an exporter, but nobody reads
// what it was bound to before.
func TestTurnsOnRabbitMQFollowTheExchange(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	url := server.URL("shop")
	args := []string{"--handover", "shop", "--no-inspect", "--no-queue-lengths"}
	old := startReady(t, url, args...)
	eventually(t, "the first one counts", old.counting)
	next := startReady(t, url, append(args, "--event-exchange", "events")...)
	eventually(t, "the second one counts", next.counting)
	old.Kill()
	channel := channelOf(t, url)
	for _, exchange := range []string{"celeryev", "events", "events"} {
		message := amqp.Publishing{ContentType: "application/json", Body: started(1)}
		if err := channel.PublishWithContext(t.Context(), exchange, "task.multi", false, false, message); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "events are counted", func() bool { return total(next.counts("celery_exporter_events")) >= 2 })
	time.Sleep(time.Second)
	if got := total(next.counts("celery_exporter_events")); got != 2 {
		t.Errorf("%v events, want the 2 of the new exchange", got)
	}
}

// TestTurnsNeedAPermissionOnRedis: without it, each counts for itself, says so and ends at once.
func TestTurnsNeedAPermissionOnRedis(t *testing.T) {
	rules := documented(t, "Redis")
	for name, more := range map[string]string{
		"events": "", "events and subscribing": " &/0.obstack.handover.* +subscribe",
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			startRedis(t, port)
			client := redisAt(t, port, "")
			setUser(t, client, map[string][]string{"events": {rules["events"][0] + more}}, nil)
			e := startReady(t, fmt.Sprintf("redis://exporter:pw@127.0.0.1:%d/0", port),
				"--handover", "shop", "--no-inspect", "--no-queue-lengths", "--no-unacked")
			eventually(t, "it counts", e.counting)
			e.hears(client)
			eventually(t, "it says that it counts for itself",
				func() bool { return strings.Contains(e.body("/ready"), "handover: this exporter counts for itself") })
			if took := e.terminate(); took > 5*time.Second {
				t.Errorf("it took %v to end, want no wait for another", took)
			}
		})
	}
	t.Run("events and all that is documented", func(t *testing.T) {
		port := freePort(t)
		startRedis(t, port)
		setUser(t, redisAt(t, port, ""), rules, []string{"handover"})
		url := fmt.Sprintf("redis://exporter:pw@127.0.0.1:%d/0", port)
		args := []string{"--handover", "shop", "--no-inspect", "--no-queue-lengths", "--no-unacked"}
		a := startReady(t, url, args...)
		eventually(t, "the first one counts", a.counting)
		b := startReady(t, url, args...)
		a.endsWhenScraped()
		eventually(t, "the second one counts", b.counting)
	})
}
