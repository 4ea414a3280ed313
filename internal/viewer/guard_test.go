// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGuard(t *testing.T) {
	handler := Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
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
			headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}},
		{host: "127.0.0.1:4322", want: 421},
		{host: "127.0.0.1", want: 421},
		{host: "rebound.example.com:4321", want: 421},
		{host: "", want: 421},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "http://evil.example.com"}, want: 403},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "null"}, want: 403},
		{host: "127.0.0.1:4321", headers: map[string]string{"Origin": "http://localhost:4321"}, want: 403},
		{host: "127.0.0.1:4321", want: 403,
			headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}},
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
