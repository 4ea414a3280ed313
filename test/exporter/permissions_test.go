// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/status"
)

// features are what needs permissions of its own, with the flag that turns it off; events cannot be
// turned off.
var features = map[string]string{
	"queue_lengths": "--no-queue-lengths",
	"unacked":       "--no-unacked",
	"inspect":       "--no-inspect",
}

// documented returns the rows of a table of docs/reference/task-exporter.md, by what they are for:
// the code spans of each.
func documented(t testing.TB, heading string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/task-exporter.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("the documentation has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	rows := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|(.*)$").FindAllStringSubmatch(section, -1) {
		for _, span := range regexp.MustCompile("`([^`]*)`|none").FindAllStringSubmatch(row[2], -1) {
			rows[row[1]] = append(rows[row[1]], strings.ReplaceAll(span[1], `\|`, "|"))
		}
	}
	if len(rows) < 3 {
		t.Fatalf("%d rows below %q", len(rows), heading)
	}
	return rows
}

// subsets are the features that a user is allowed: none, each alone and all.
func subsets(all ...string) [][]string {
	sets := [][]string{{}, all}
	for _, one := range all {
		sets = append(sets, []string{one})
	}
	return sets
}

// without returns the flags that turn off all features but these.
func without(kept []string) (flags []string) {
	for feature, flag := range features {
		if !strings.Contains(strings.Join(kept, " "), feature) {
			flags = append(flags, flag)
		}
	}
	return flags
}

// works waits until exactly these features work.
func (e *running) works(broker string, want []string) {
	e.t.Helper()
	e.ready()
	up := map[string]float64{}
	for _, feature := range want {
		up["{"+feature+"}"] = 1
	}
	e.becomes("celery_exporter_control_up", up)
	if strings.Contains(strings.Join(want, " "), "inspect") {
		e.becomes("celery_active_worker_count", map[string]float64{"{celery}": 1})
	}
	if strings.Contains(strings.Join(want, " "), "queue_lengths") {
		e.becomes("celery_queue_length", map[string]float64{"{emails}": 2})
	}
	if errors := e.counts("celery_exporter_control_errors"); len(errors) != 0 {
		e.t.Errorf("errors at %s: %v", broker, errors)
	}
}

// TestTheSmallestRedisUsers: what the documentation lists is enough, and nothing beyond it is
// tried.
func TestTheSmallestRedisUsers(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	client := redisAt(t, port, "")
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	c := celery{t, "celery-newest", broker, events}
	c.worker("w@host", "-c", "1", "-P", "solo")
	c.publish(order{"proj.ok", 2, map[string]any{"queue": "emails"}})
	rules := documented(t, "Redis")
	for _, allowed := range subsets("queue_lengths", "unacked", "inspect") {
		t.Run(strings.Join(append([]string{"events"}, allowed...), "+"), func(t *testing.T) {
			setUser(t, client, rules, allowed)
			e := start(
				t,
				fmt.Sprintf("redis://exporter:pw@127.0.0.1:%d/0", port),
				append(without(allowed), "-Q", "celery,emails")...)
			e.works("redis", allowed)
			refused, err := client.Do(t.Context(), "ACL", "LOG").Slice()
			if err != nil || len(refused) > 0 {
				t.Errorf("refused: %v, %v", refused, err)
			}
		})
	}
}

// setUser makes the user with the documented rules of these features.
func setUser(t testing.TB, client *redis.Client, rules map[string][]string, allowed []string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", "exporter", "reset", "on", ">pw"}
	for _, feature := range append([]string{"events"}, allowed...) {
		for rule := range strings.FieldsSeq(rules[feature][0]) {
			args = append(args, rule)
		}
	}
	if err := client.Do(context.Background(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Do(context.Background(), "ACL", "LOG", "RESET").Err(); err != nil {
		t.Fatal(err)
	}
}

// TestARestrictedRedisUserCostsLittle: what the user may not do is no reason to connect again, or
// to ask the workers again.
func TestARestrictedRedisUserCostsLittle(t *testing.T) {
	rules := documented(t, "Redis")
	for name, allowed := range map[string][]string{
		"read only": {"queue_lengths", "unacked"}, "without unacked": {"queue_lengths", "inspect"},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			startRedis(t, port)
			client := redisAt(t, port, "")
			setUser(t, client, rules, allowed)
			e := start(
				t,
				fmt.Sprintf("redis://exporter:pw@127.0.0.1:%d/0", port),
				"-Q",
				"celery,emails",
			)
			e.ready()
			broadcasts := client.Subscribe(t.Context(), "/0.celery.pidbox").Channel()
			eventually(
				t,
				"a queue's length is read",
				func() bool { return len(e.scrape()["celery_queue_length"].GetMetric()) == 2 },
			)
			eventually(
				t,
				"all questions were asked",
				func() bool { return len(e.scrape()["celery_exporter_control_up"].GetMetric()) == len(features) },
			)
			before := connections(t, client)
			time.Sleep(15 * time.Second)
			// One may be lost on a machine that is busy.
			if after := connections(t, client); after > before+2 {
				t.Errorf("connections went from %d to %d in 15 seconds", before, after)
			}
			if got := len(broadcasts); got > 6 {
				t.Errorf("%d broadcasts in 15 seconds, want each question once", got)
			}
			e.saysWhatFails(t, allowed)
		})
	}
}

// saysWhatFails checks that /status names what is not allowed.
func (e *running) saysWhatFails(t *testing.T, allowed []string) {
	document, err := e.document()
	if err != nil {
		t.Fatal(err)
	}
	for _, question := range document.Questions {
		if want := strings.Contains(strings.Join(allowed, " "), question.Name); question.Up != want ||
			!want && !strings.Contains(question.Reason, "NOPERM") {
			t.Errorf("question %+v, want up %v", question, want)
		}
	}
}

// connections returns how many the server has accepted. The client's own stays in its pool.
func connections(t testing.TB, client *redis.Client) int {
	t.Helper()
	text, err := client.Info(context.Background(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, count, _ := strings.Cut(text, "total_connections_received:")
	count, _, _ = strings.Cut(count, "\r\n")
	number, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// ctl runs rabbitmqctl.
func (r rabbit) ctl(t testing.TB, args ...string) string {
	t.Helper()
	output, err := r.Ctl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// allow gives the user the documented permissions of these features.
func (r rabbit) allow(t testing.TB, features ...string) {
	t.Helper()
	rules := documented(t, "RabbitMQ")
	patterns := make([]string, 3)
	for i := range patterns {
		var alternatives []string
		for _, feature := range append([]string{"events"}, features...) {
			if spans := rules[feature]; len(spans) > i && spans[i] != "" {
				alternatives = append(alternatives, spans[i])
			}
		}
		patterns[i] = strings.Join(alternatives, "|")
	}
	r.ctl(t, append([]string{"set_permissions", "-p", "shop", "exporter"}, patterns...)...)
}

// TestTheSmallestRabbitMQUsers: what the documentation lists is enough, and nothing beyond it is
// tried.
func TestTheSmallestRabbitMQUsers(t *testing.T) {
	server := newRabbit(t)
	p := server.start(t)
	server.ctl(t, "add_user", "exporter", "pw")
	c := celery{t, "celery-newest", server.URL("shop"), events}
	c.worker("w@host", "-c", "1", "-P", "solo")
	c.publish(order{"proj.ok", 2, map[string]any{"queue": "emails"}})
	restricted := fmt.Sprintf("amqp://exporter:pw@127.0.0.1:%d/shop", server.Port)
	for _, allowed := range subsets("queue_lengths", "inspect") {
		t.Run(strings.Join(append([]string{"events"}, allowed...), "+"), func(t *testing.T) {
			server.allow(t, allowed...)
			e := start(t, restricted, append(without(allowed), "-Q", "celery,emails")...)
			e.works("rabbitmq", allowed)
		})
	}
	if refusals := strings.Count(string(p.output()), "access_refused"); refusals > 0 {
		t.Errorf("%d refusals", refusals)
	}
	t.Run("events, without flags", func(t *testing.T) {
		server.allow(t)
		accepted := func() int { return strings.Count(string(p.output()), "task exporter: workers") }
		before := accepted()
		e := startReady(t, restricted, "-Q", "emails")
		eventually(
			t,
			"workers are not asked",
			func() bool { return e.counts("celery_exporter_control_errors")["{inspect}"] > 0 },
		)
		e.becomes("celery_exporter_control_up", map[string]float64{"{queue_lengths}": 1})
		e.becomes("celery_queue_length", map[string]float64{"{emails}": 2})
		document, err := e.document()
		want := &status.Queues{Count: 1, Names: []string{"emails"}}
		if diff := cmp.Diff(want, document.Unconsumed); err != nil || diff != "" {
			t.Errorf("unconsumed, error %v: %s", err, diff)
		}
		// The server writes three lines of each.
		if got := accepted() - before; got > 3 {
			t.Errorf("%d lines of connections for workers", got)
		}
	})
}
