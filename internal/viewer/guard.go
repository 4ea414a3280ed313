// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"net"
	"net/http"
	"slices"
)

// Guard lets only those requests pass that are for the server's own address and come from its own
// pages: a page of another site, also one whose name resolves to this machine, gets nothing.
func Guard(next http.Handler, address net.Addr) http.Handler {
	hosts := []string{address.String()}
	if _, port, err := net.SplitHostPort(address.String()); err == nil {
		hosts = append(hosts, net.JoinHostPort("localhost", port))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		foreign := site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate"
		switch {
		case !slices.Contains(hosts, r.Host):
			http.Error(w, "This server has another address.", http.StatusMisdirectedRequest)
		case origin != "" && origin != "http://"+r.Host, foreign:
			http.Error(w, "Pages of other sites get nothing here.", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "This server only shows.", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
