// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Limits of a connection. Whoever asks bounds the time of a request by its context.
const (
	dialTimeout     = 5 * time.Second
	responseTimeout = 30 * time.Second
	clientTimeout   = 2 * time.Minute
	maxRedirects    = 3
)

// httpClient asks one shard.
func (b *Backends) httpClient(of shard, with credentials) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: with.tls, DialContext: b.Dial, Proxy: http.ProxyFromEnvironment,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: responseTimeout,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
	}
	if b.Dial == nil {
		transport.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	if of.direct {
		transport.Proxy = nil
	}
	return &http.Client{
		Transport: &authorized{urls: of.urls, headers: with.headers, next: transport},
		Timeout:   clientTimeout,
		// What leads to another server is no response: the credentials are not for it.
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || origin(request.URL) != origin(via[0].URL) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// authorized adds the credentials to requests for one of several addresses of the same server, and
// lets no other pass. It asks the next address where one does not respond or is starting.
type authorized struct {
	urls    []*url.URL
	headers map[string]string
	next    *http.Transport
}

var errOtherServer = errors.New("the request is for another server")

// RoundTrip implements http.RoundTripper.
func (a *authorized) RoundTrip(request *http.Request) (response *http.Response, err error) {
	if !slices.ContainsFunc(a.urls, func(u *url.URL) bool { return origin(u) == origin(request.URL) }) {
		return nil, errOtherServer
	}
	for i, address := range a.urls {
		attempt := request.Clone(request.Context())
		attempt.URL.Host, attempt.Host = address.Host, ""
		attempt.Header.Set("User-Agent", "obstack")
		for name, value := range a.headers {
			attempt.Header.Set(name, value)
		}
		response, err = a.next.RoundTrip(attempt)
		last := i == len(a.urls)-1 || request.Body != nil || request.Context().Err() != nil
		if last || err == nil && response.StatusCode != http.StatusServiceUnavailable {
			return response, err
		}
		if err == nil {
			_ = response.Body.Close()
		}
	}
	return response, err
}

// CloseIdleConnections closes those that wait for the next request.
func (a *authorized) CloseIdleConnections() { a.next.CloseIdleConnections() }
