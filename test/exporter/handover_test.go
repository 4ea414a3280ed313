// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/taskevents"
	"obstack.dev/obstack/test/testenv"
)

// stream publishes the events of tasks at a rate, in events/s, until it is stopped, and counts
// them.
type stream struct {
	rate    float64
	publish func(context.Context, []taskevents.Message) error
	events  float64
	err     error
	stopped chan struct{}
	stop    context.CancelFunc
}

// rolloutRate is that of the stream during rollouts.
const rolloutRate = 10_000

func (s *stream) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s.stop, s.stopped = cancel, make(chan struct{})
	tasks := taskevents.NewGenerator(taskevents.Shape{Names: 1, Workers: 1})
	go func() {
		defer close(s.stopped)
		began := time.Now()
		for ctx.Err() == nil && s.err == nil {
			// Heartbeats make the exporter show a worker.
			const beat = `{"type": "worker-heartbeat", "hostname": "w@h", "timestamp": %d}`
			messages := []taskevents.Message{{Key: "worker.heartbeat", Body: fmt.Appendf(nil, beat, time.Now().Unix())}}
			for due := time.Since(began).Seconds() * s.rate; s.events < due; {
				for _, m := range tasks.Stream(1) {
					messages = append(messages, m)
					s.events += float64(m.Events)
				}
			}
			s.err = s.publish(context.WithoutCancel(ctx), messages)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(s.stop)
}

// end stops the stream, and returns how many events it sent.
func (s *stream) end(t *testing.T) float64 {
	t.Helper()
	s.stop()
	<-s.stopped
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.events
}

// prometheus scrapes all exporters that live each half second, the newest first, and keeps what it
// saw last of each.
type prometheus struct {
	t    *testing.T
	mu   sync.Mutex
	live []*running
	last map[*running]float64
	// both counts the rounds in which more than one showed gauges.
	rounds, both int
}

func (p *prometheus) round() {
	p.mu.Lock()
	live := append([]*running(nil), p.live...)
	p.mu.Unlock()
	showing := 0
	for _, process := range slices.Backward(live) {
		response, err := http.Get(process.url + "/metrics")
		if err != nil {
			continue // it has ended
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(response.Body)
		response.Body.Close()
		if err != nil {
			continue
		}
		tasks := 0.0
		for name, family := range families {
			if strings.HasPrefix(name, "celery_task_") && family.GetType() == dto.MetricType_COUNTER {
				for _, metric := range family.GetMetric() {
					tasks += value(metric)
				}
			}
		}
		p.last[process] = tasks
		if families["celery_worker_up"] != nil {
			showing++
		}
	}
	p.rounds++
	if showing > 1 {
		p.both++
	}
}

// watch scrapes until it is stopped, and then once more.
func (p *prometheus) watch() (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				p.round()
				return
			case <-time.After(500 * time.Millisecond):
				p.round()
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// rollOut replaces an exporter as a Deployment with the strategy RollingUpdate does.
func (p *prometheus) rollOut(old *running, broker string) *running {
	p.t.Helper()
	began := time.Now()
	next := startReady(p.t, broker, "--handover", "shop", "--no-inspect")
	ready := time.Since(began)
	p.mu.Lock()
	p.live = append(p.live, next)
	p.mu.Unlock()
	if old == nil {
		return next
	}
	took := old.terminate()
	p.t.Logf("the new one was ready after %v, the old one ended %v after SIGTERM",
		ready.Round(time.Millisecond), took.Round(time.Millisecond))
	// It needs four seconds and does not wait for the longest that it may.
	if took > 30*time.Second {
		p.t.Errorf("the old one took %v to end", took)
	}
	if bytes.Contains(old.output(), []byte("panic")) {
		p.t.Errorf("the old one: %s", old.output())
	}
	return next
}

// settle waits until nothing more is counted: a busy broker delivers late.
func (e *running) settle() {
	e.t.Helper()
	before := -1.0
	for end := time.Now().Add(testenv.Timeout); time.Now().Before(end); time.Sleep(4 * time.Second) {
		counted := total(e.counts("celery_exporter_events"))
		if counted == before {
			return
		}
		before = counted
	}
	e.t.Fatal("the exporter still counts")
}

// threeRollouts checks that the counters of all processes together are those of what was sent.
func threeRollouts(t *testing.T, broker string, s *stream) {
	p := &prometheus{t: t, last: map[*running]float64{}}
	current := p.rollOut(nil, broker)
	stop := p.watch()
	s.run(t)
	const rollouts = 3
	for range rollouts {
		time.Sleep(2 * time.Second)
		current = p.rollOut(current, broker)
	}
	sent := s.end(t)
	current.settle()
	stop()
	sum := 0.0
	for _, n := range p.last {
		sum += n
	}
	t.Logf("%.0f events sent, %.0f counted by %d processes, %d scrapes, in %d of them more than one showed gauges",
		sent, sum, len(p.last), p.rounds, p.both)
	if math.Abs(sum-sent) > 0.005*sent {
		t.Errorf("%.0f events counted, %.0f sent: more than 0.5 %% apart", sum, sent)
	}
	// The two of a rollout hear of it some milliseconds apart, and are scraped so.
	if p.both > rollouts {
		t.Errorf("in %d of %d scrapes more than one showed gauges", p.both, p.rounds)
	}
	if len(current.counts("celery_worker_up")) == 0 {
		t.Error("the last one shows no gauges")
	}
}

// redisStream publishes as kombu does.
func redisStream(client *redis.Client, rate float64) *stream {
	return &stream{rate: rate, publish: func(ctx context.Context, messages []taskevents.Message) error {
		pipe := client.Pipeline()
		for _, m := range messages {
			pipe.Publish(ctx, "/0.celeryev/"+m.Key, m.Envelope())
		}
		_, err := pipe.Exec(ctx)
		return err
	}}
}

// rabbitStream publishes as kombu does.
func rabbitStream(t *testing.T, url string, rate float64) *stream {
	channel := channelOf(t, url)
	return &stream{rate: rate, publish: func(ctx context.Context, messages []taskevents.Message) error {
		for _, m := range messages {
			message := amqp.Publishing{ContentType: "application/json", Body: m.Body}
			if err := channel.PublishWithContext(ctx, "celeryev", m.Key, false, false, message); err != nil {
				return err
			}
		}
		return nil
	}}
}

func TestHandoverOnRedisLosesNothing(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	threeRollouts(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port), redisStream(redisAt(t, port, ""), rolloutRate))
}

// TestHandoverOnRabbitMQLosesNothing: with the least that a user may do.
func TestHandoverOnRabbitMQLosesNothing(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	server.ctl(t, "add_user", "exporter", "pw")
	server.allow(t)
	restricted := fmt.Sprintf("amqp://exporter:pw@127.0.0.1:%d/shop", server.Port)
	threeRollouts(t, restricted, rabbitStream(t, server.URL("shop"), rolloutRate))
}
