// SPDX-License-Identifier: Apache-2.0

// Package backoff makes the clients of a process pause together. A client of Kubernetes
// repeats by itself a request that was refused as one too many (429), and sends all others
// meanwhile: a process that does much at a time goes on as before.
package backoff

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/transport"
)

// longest bounds what the API server may ask for: a pass must not last for ever.
const longest = 30 * time.Second

// leases keep their own pace: who pauses too long leads no more, and all begins anew elsewhere. A
// proxy may serve the API below a path of its own, so anything may stand before.
const leases = "/apis/coordination.k8s.io/"

// Together returns a wrapper for the transport of a rest.Config, of which all clients made
// from it send nothing for as long as one of them is asked to wait.
func Together() transport.WrapperFunc {
	shared := &pause{}
	return func(next http.RoundTripper) http.RoundTripper { return &roundTripper{next, shared} }
}

type roundTripper struct {
	next http.RoundTripper
	*pause
}

// RoundTrip sends a request when the pause is over.
func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, leases) {
		return r.next.RoundTrip(req)
	}
	if err := r.wait(req.Context()); err != nil {
		return nil, err
	}
	resp, err := r.next.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		r.extend(resp.Header.Get("Retry-After"))
	}
	return resp, err
}

// pause is until when nothing is to be sent.
type pause struct {
	mu    sync.Mutex
	until time.Time
}

func (p *pause) extend(retryAfter string) {
	seconds, err := strconv.Atoi(retryAfter)
	if err != nil {
		seconds = 1 // what the API server says when it is not sure
	}
	until := time.Now().Add(min(time.Duration(seconds)*time.Second, longest))
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

// wait returns when the pause is over, which may be extended meanwhile.
func (p *pause) wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		left := time.Until(p.until)
		p.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
