// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	handler := guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4321})
	for _, tc := range []struct {
		host, method string
		headers      map[string]string
		want         int
	}{
		{host: "127.0.0.1:4321", want: 200},
		{host: "localhost:4321", want: 200},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "http://127.0.0.1:4321"}, want: 200},
		{host: "127.0.0.1:4321", method: http.MethodHead, want: 200},
		{host: "127.0.0.1:4321", want: 200,
			headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}},
		{host: "127.0.0.1:4321", want: 200,
			headers: map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "script"}},
		{host: "127.0.0.1:4321", want: 200,
			headers: map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}},
		{host: "127.0.0.1:4322", want: 421},
		{host: "127.0.0.1", want: 421},
		{host: "rebound.example.com:4321", want: 421},
		{host: "", want: 421},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "http://evil.example.com"}, want: 403},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "null"}, want: 403},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "http://localhost:4321"}, want: 403},
		{host: "127.0.0.1:4321", want: 403,
			headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "script"}},
		{host: "127.0.0.1:4321", want: 403,
			headers: map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"}},
		{host: "127.0.0.1:4321", want: 403, headers: map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}},
		{host: "127.0.0.1:4321", method: http.MethodPost, want: 405},
		{host: "127.0.0.1:4321", method: http.MethodOptions, want: 405},
	} {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Host = tc.host
		if tc.method != "" {
			request.Method = tc.method
		}
		for name, value := range tc.headers {
			request.Header.Set(name, value)
		}
		recorder := httptest.NewRecorder()
		if handler.ServeHTTP(recorder, request); recorder.Code != tc.want {
			t.Errorf("%+v: status %d", tc, recorder.Code)
		}
	}
}

// serverOf a viewer, which is to be started.
func serverOf(t *testing.T, v *Viewer) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(t.Context(), v, server.Listener.Addr())
	t.Cleanup(server.Close)
	return server
}

// send what a browser would not.
func send(t *testing.T, server *httptest.Server, request string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	go func() { _, _ = io.WriteString(connection, request) }() // It may be refused while it is sent.
	return connection
}

// TestServerIsAsked in ways that are no browser's.
func TestServerIsAsked(t *testing.T) {
	server := serverOf(t, newViewer(t, newFake(t), stackDashboards(t)[0]))
	server.Start()
	host := server.Listener.Addr().String()
	for request, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: " + host: 302,
		"GET / HTTP/1.0":                  421,
		"GET / HTTP/1.1\r\nHost: [::1]:" + server.URL[strings.LastIndex(server.URL, ":")+1:]: 421,
		"GET / HTTP/1.1\r\nHost: user@" + host:                                               400,
		"GET / HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.example.com":                     400,
		"GET http://evil.example.com/ HTTP/1.1\r\nHost: " + host:                             421,
		"PRI * HTTP/2.0": 421,
		"CONNECT " + host + " HTTP/1.1\r\nHost: " + host:                                            405,
		"GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket":         302,
		"GET /?a=" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: " + host:                      431,
		"GET /d/..%2f..%2fapi/v1/query HTTP/1.1\r\nHost: " + host:                                   404,
		"POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\nX-HTTP-Method-Override: GET": 405,
	} {
		got, _ := bufio.NewReader(send(t, server, request+"\r\n\r\n")).ReadString('\n')
		if !strings.Contains(got, fmt.Sprintf(" %d ", want)) {
			t.Errorf("%.80q: %q, want %d", request, got, want)
		}
	}
}

// TestServerWaitsForNoReader: a tab that never reads keeps its page for some time only.
func TestServerWaitsForNoReader(t *testing.T) {
	v, done := newViewer(t, newFake(t), stackDashboards(t)[0]), make(chan struct{})
	v.mux.HandleFunc("GET /endless", func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		endless("", strings.Repeat("x", 1<<16))(w, r)
	})
	server := serverOf(t, v)
	server.Config.WriteTimeout /= 300 // What is none stays none.
	server.Start()
	send(t, server, "GET /endless HTTP/1.1\r\nHost: "+server.Listener.Addr().String()+"\r\n\r\n")
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the page waits for its reader")
	}
}
