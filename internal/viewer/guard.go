// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"
)

// Limits of a server, which only one person uses.
const (
	headerTimeout = 5 * time.Second
	// writeTimeout is for a page with its response: whoever does not read it keeps nothing of it.
	writeTimeout = 2 * pageTimeout
	idleTimeout  = 2 * time.Minute
	maxHeader    = 64 << 10
)

// Server serves a viewer to the browsers of this machine, at the address of a listener that its
// caller has. Its requests end with the context.
func Server(ctx context.Context, v *Viewer, address net.Addr) *http.Server {
	return &http.Server{
		Handler: guard(v, address), ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return ctx },
	}
}

// guard lets only those requests pass that are for the server's own address and come from its own
// pages: a page of another site or port, also one whose name resolves to this machine, gets
// nothing. It may lead here, which loads a page in a tab of its own and in no frame.
func guard(next http.Handler, address net.Addr) http.Handler {
	hosts := []string{address.String()}
	if _, port, err := net.SplitHostPort(address.String()); err == nil {
		hosts = append(hosts, net.JoinHostPort("localhost", port))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		own := slices.Contains([]string{"", "same-origin", "none"}, site)
		switch {
		case !slices.Contains(hosts, r.Host):
			http.Error(w, "This server has another address.", http.StatusMisdirectedRequest)
		case origin != "" && origin != "http://"+r.Host, !own && r.Header.Get("Sec-Fetch-Dest") != "document":
			http.Error(w, "Pages of other sites get nothing here.", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "This server only shows.", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
