// SPDX-License-Identifier: Apache-2.0

// Package shop plays the shop's HTTP service for the demo: a real server, whose handlers do nothing
// but wait and sometimes fail, with the metrics that prometheus-fastapi-instrumentator has.
package shop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Server is one Pod of the service.
type Server struct {
	// Address that it listens at.
	Address string

	http   *http.Server
	orders atomic.Int64
	ended  chan error
}

// Start starts a server on a free loopback port.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the shop: %w", err)
	}
	s := &Server{Address: listener.Addr().String(), ended: make(chan error, 1)}
	s.http = &http.Server{Handler: s.handler(newMetrics()), ReadHeaderTimeout: 5 * time.Second}
	go func() { s.ended <- s.http.Serve(listener) }()
	return s, nil
}

// stopTimeout is more than any request takes.
const stopTimeout = 5 * time.Second

// Stop ends the server after the requests that it has.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (s *Server) handler(m *metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.handler())
	route := func(method, path string, handler http.HandlerFunc) {
		mux.Handle(method+" "+path, m.observe(method, path, handler))
	}
	route(http.MethodGet, "/items", func(w http.ResponseWriter, _ *http.Request) {
		wait(20 * time.Millisecond)
		w.WriteHeader(http.StatusOK)
	})
	route(http.MethodGet, "/items/{item}", item)
	route(http.MethodGet, "/search", func(w http.ResponseWriter, _ *http.Request) {
		wait(250 * time.Millisecond)
		w.WriteHeader(http.StatusOK)
	})
	route(http.MethodPost, "/orders", s.order)
	return mux
}

// item is not there if nobody sells it.
func item(w http.ResponseWriter, r *http.Request) {
	wait(10 * time.Millisecond)
	if r.PathValue("item") == "unknown" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// order fails every fifth time, as if the payment provider were overloaded.
func (s *Server) order(w http.ResponseWriter, _ *http.Request) {
	wait(80 * time.Millisecond)
	if s.orders.Add(1)%5 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// wait from shortest to twice that.
func wait(shortest time.Duration) { time.Sleep(shortest + rand.N(shortest)) }
