// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// Limits of what is asked and kept.
const (
	queryTimeout = 10 * time.Second
	// maxSeries of a graph, and maxRows of a table, that a query is read for.
	maxSeries = 100
	maxRows   = 500
	maxValues = 1000
	// maxLabels and maxLabel bound what is kept of a series' labels.
	maxLabels = 30
	maxLabel  = 200
	// maxSeriesBytes bounds what a series is read for: maxPoints take some 15 KiB.
	maxSeriesBytes = 256 << 10
	// maxKept bounds the points of all responses that are kept: some 24 MiB.
	maxKept = 1_500_000
	// parallel queries, of the 20 that a Prometheus evaluates at a time by default.
	parallel = 8
)

// kind of a question.
type kind int

const (
	instant kind = iota
	ranged
	values
)

// question that Prometheus is asked. Equal ones are asked once.
type question struct {
	kind kind
	// expr is the expression, or the selector of the series whose label is asked for.
	expr, label string
	from, to    time.Time
	step        time.Duration
	limit       int
}

// answer of Prometheus.
type answer struct {
	series []promclient.Series
	values []string
	partly promclient.Partly
	err    error
}

// size of an answer in points; labels and values count as well.
func (a *answer) size() int {
	size := len(a.values) + 1
	for _, s := range a.series {
		size += len(s.Points) + maxLabels
	}
	return size
}

// source asks a Prometheus, and keeps the answers of the last questions for whoever has the same.
type source struct {
	client promclient.Client
	slots  chan struct{}

	mu    sync.Mutex
	kept  map[question]*pending
	order []question // those that are answered, the oldest first
	size  int
}

// pending is an answer that is there when done is closed.
type pending struct {
	done   chan struct{}
	answer answer
}

func newSource(client promclient.Client) *source {
	client.ValueLimit = maxSeriesBytes
	return &source{client: client, slots: make(chan struct{}, parallel), kept: map[question]*pending{}}
}

// ask once, however many ask the same. Whoever leaves takes nothing from the others.
func (s *source) ask(ctx context.Context, q question) answer {
	s.mu.Lock()
	p, known := s.kept[q]
	if !known {
		p = &pending{done: make(chan struct{})}
		s.kept[q] = p
		go s.fill(context.WithoutCancel(ctx), q, p)
	}
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.answer
	case <-ctx.Done():
		return answer{err: promclient.TimedOut}
	}
}

// fill an answer, and drop the oldest while there are too many. A failure is not kept.
func (s *source) fill(ctx context.Context, q question, p *pending) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		p.answer = s.send(ctx, q)
		<-s.slots
	case <-ctx.Done():
		p.answer = answer{err: promclient.TimedOut}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(p.done)
	if p.answer.err != nil {
		delete(s.kept, q)
		return
	}
	s.order = append(s.order, q)
	s.size += p.answer.size()
	for len(s.order) > 1 && s.size > maxKept {
		s.size -= s.kept[s.order[0]].answer.size()
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
}

func (s *source) send(ctx context.Context, q question) (a answer) {
	switch q.kind {
	case instant:
		a.partly, a.err = s.client.QueryAt(ctx, q.expr, q.to, q.limit, func(sample promclient.Sample) {
			point := promclient.Point{At: float64(q.to.Unix()), Value: sample.Value}
			a.series = append(a.series, promclient.Series{
				Labels: bounded(sample.Labels), Points: []promclient.Point{point},
			})
		})
	case ranged:
		r := promclient.Range{From: q.from, To: q.to, Step: q.step}
		a.partly, a.err = s.client.QueryRange(ctx, q.expr, r, q.limit, func(series promclient.Series) {
			series.Labels = bounded(series.Labels)
			series.Points = slices.Clone(series.Points[:min(len(series.Points), maxPoints+1)])
			a.series = append(a.series, series)
		})
	case values:
		r := promclient.Range{From: q.from, To: q.to}
		a.partly, a.err = s.client.LabelValues(ctx, q.label, q.expr, r, q.limit, func(value string) {
			a.values = append(a.values, strings.Clone(cut(value, maxLabel)))
		})
	}
	return a
}

// bounded labels: a server may send any.
func bounded(labels map[string]string) map[string]string {
	kept := make(map[string]string, min(len(labels), maxLabels))
	for name, value := range labels {
		if len(kept) < maxLabels {
			kept[strings.Clone(cut(name, maxLabel))] = strings.Clone(cut(value, maxLabel))
		}
	}
	return kept
}
