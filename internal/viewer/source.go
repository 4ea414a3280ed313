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
	// maxKept bounds the bytes of all replies that are kept, with their questions.
	maxKept = 32 << 20
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

// reply of Prometheus.
type reply struct {
	series []promclient.Series
	values []string
	partly promclient.Partly
	err    error
}

// What is kept beside points and texts, in bytes, about.
const (
	ofQuestion = 512
	ofSeries   = 256
	ofPoint    = 16
	ofText     = 24
)

// size in bytes, about, of a reply that is kept with its question: also one without series, of
// which a page that is open for a week makes a million.
func (r *reply) size(q question) int {
	size := ofQuestion + len(q.expr)
	for _, value := range r.values {
		size += ofText + len(value)
	}
	for _, s := range r.series {
		size += ofSeries + ofPoint*len(s.Points)
		for name, value := range s.Labels {
			size += 2*ofText + len(name) + len(value)
		}
	}
	return size
}

// source asks a Prometheus, and keeps the replies of the last questions for whoever has the same.
type source struct {
	client promclient.Client
	places chan struct{}

	mu    sync.Mutex
	kept  map[question]*pending
	order []question // those that are replied to, the oldest first
	size  int
}

// pending is a reply that is there when done is closed.
type pending struct {
	done  chan struct{}
	reply reply
}

func newSource(client promclient.Client) *source {
	client.ValueLimit = maxSeriesBytes
	return &source{client: client, places: make(chan struct{}, parallel), kept: map[question]*pending{}}
}

// ask once, however many ask the same. Whoever leaves takes nothing from the others.
func (s *source) ask(ctx context.Context, q question) reply {
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
		return p.reply
	case <-ctx.Done():
		return reply{err: promclient.TimedOut}
	}
}

// fill a reply, and drop the oldest while there are too many. A failure is not kept.
func (s *source) fill(ctx context.Context, q question, p *pending) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	select {
	case s.places <- struct{}{}:
		p.reply = s.send(ctx, q)
		<-s.places
	case <-ctx.Done():
		p.reply = reply{err: promclient.TimedOut}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(p.done)
	if p.reply.err != nil {
		delete(s.kept, q)
		return
	}
	s.order = append(s.order, q)
	s.size += p.reply.size(q)
	for len(s.order) > 1 && s.size > maxKept {
		oldest := s.order[0]
		s.size -= s.kept[oldest].reply.size(oldest)
		delete(s.kept, oldest)
		s.order = s.order[1:]
	}
}

func (s *source) send(ctx context.Context, q question) (r reply) {
	switch q.kind {
	case instant:
		r.partly, r.err = s.client.QueryAt(ctx, q.expr, q.to, q.limit, func(sample promclient.Sample) {
			point := promclient.Point{At: float64(q.to.Unix()), Value: sample.Value}
			r.series = append(r.series, promclient.Series{
				Labels: bounded(sample.Labels), Points: []promclient.Point{point},
			})
		})
	case ranged:
		over := promclient.Range{From: q.from, To: q.to, Step: q.step}
		r.partly, r.err = s.client.QueryRange(ctx, q.expr, over, q.limit, func(series promclient.Series) {
			series.Labels = bounded(series.Labels)
			series.Points = slices.Clone(series.Points[:min(len(series.Points), maxPoints+1)])
			r.series = append(r.series, series)
		})
	case values:
		over := promclient.Range{From: q.from, To: q.to}
		r.partly, r.err = s.client.LabelValues(ctx, q.label, q.expr, over, q.limit, func(value string) {
			r.values = append(r.values, strings.Clone(cut(value, maxLabel)))
		})
	}
	return r
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
