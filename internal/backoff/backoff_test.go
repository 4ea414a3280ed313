// SPDX-License-Identifier: Apache-2.0

package backoff

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server refuses its first request, and notes when each one came.
type server struct {
	retryAfter string

	mu    sync.Mutex
	start time.Time
	came  []time.Duration
}

func (s *server) RoundTrip(*http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
	if s.came == nil {
		resp.StatusCode = http.StatusTooManyRequests
		resp.Header.Set("Retry-After", s.retryAfter)
	}
	s.came = append(s.came, time.Since(s.start))
	return resp, nil
}

func get(ctx context.Context, t *testing.T, client http.RoundTripper, path string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return client.RoundTrip(req)
}

func TestTogetherPausesAllClients(t *testing.T) {
	for name, tc := range map[string]struct {
		retryAfter, path string
		want             time.Duration
	}{
		"as long as asked":    {"5", "/api/v1/pods", 5 * time.Second},
		"a second by default": {"", "/api/v1/pods", time.Second},
		"not for ever":        {"3600", "/api/v1/pods", longest},
		"leases never":        {"5", leases + "v1/namespaces/obstack/leases/obstack", 0},
		"behind a proxy":      {"5", "/k8s/clusters/c-1" + leases + "v1/namespaces/obstack/leases/obstack", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{retryAfter: tc.retryAfter, start: time.Now()}
				wrap := Together()
				refused, err := get(t.Context(), t, wrap(s), "/api/v1/pods")
				if err != nil || refused.StatusCode != http.StatusTooManyRequests {
					t.Fatalf("first response: %v, %v; want the refusal", refused, err)
				}
				var others sync.WaitGroup
				for range 3 { // clients of their own, all at once
					others.Go(func() {
						if _, err := get(t.Context(), t, wrap(s), tc.path); err != nil {
							t.Error(err)
						}
					})
				}
				others.Wait()
				for _, came := range s.came[1:] {
					if came != tc.want {
						t.Errorf("a request came after %s, want %s", came, tc.want)
					}
				}
			})
		})
	}
}

func TestTogetherEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{retryAfter: "20", start: time.Now()}
		client := Together()(s)
		if _, err := get(t.Context(), t, client, "/"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := get(ctx, t, client, "/"); !errors.Is(err, context.DeadlineExceeded) || len(s.came) != 1 {
			t.Errorf("error = %v after %d requests, want the end of the request that waited", err, len(s.came))
		}
	})
}
