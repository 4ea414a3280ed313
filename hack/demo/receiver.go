// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// receiver takes events as Sentry does, and keeps the first of each kind of process.
type receiver struct {
	dsn    string
	server *http.Server
	ended  chan error

	mu         sync.Mutex
	web, tasks *event
}

// event is what is shown of one.
type event struct {
	Release, Environment, Transaction string
	Exception                         struct {
		Values []struct{ Type, Value string }
	}
	Request struct{ Headers map[string]string }
}

// startReceiver starts it on a free loopback port.
func startReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("receive events of Sentry's: %w", err)
	}
	r := &receiver{dsn: "http://demo@" + listener.Addr().String() + "/1", ended: make(chan error, 1)}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { r.ended <- r.server.Serve(listener) }()
	return r, nil
}

// stop ends it at once: whoever sends gets no response from a Sentry that is away, either.
func (r *receiver) stop() error {
	err := r.server.Close()
	if ended := <-r.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// ServeHTTP implements http.Handler. It takes envelopes: lines of JSON, of which that of an error
// has an exception.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var body io.Reader = request.Body
	if request.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	lines := bufio.NewScanner(io.LimitReader(body, 8<<20))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		e := &event{}
		if json.Unmarshal(lines.Bytes(), e) == nil && len(e.Exception.Values) > 0 {
			r.keep(e)
		}
	}
	_, _ = io.WriteString(w, "{}")
}

func (r *receiver) keep(e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(e.Request.Headers) > 0 && r.web == nil:
		r.web = e
	case len(e.Request.Headers) == 0 && r.tasks == nil:
		r.tasks = e
	}
}

// events are the first of a web server and of a worker, for people, and whether both are there.
func (r *receiver) events() (text string, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range []*event{r.web, r.tasks} {
		if e == nil {
			continue
		}
		last := e.Exception.Values[len(e.Exception.Values)-1]
		text += fmt.Sprintf("\n        %s: %s, in %s, with release %s, environment %s", last.Type, last.Value, e.Transaction,
			e.Release, e.Environment)
		for name, value := range e.Request.Headers {
			if strings.EqualFold(name, "Authorization") {
				text += fmt.Sprintf(", %s %s", name, value)
			}
		}
	}
	return text, r.web != nil && r.tasks != nil
}
