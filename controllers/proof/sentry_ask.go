// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	sentrygo "github.com/getsentry/sentry-go"
	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
)

const (
	// sentryTimeout bounds one question to Sentry.
	sentryTimeout = 5 * time.Second
	// sentryPause is the shortest between two questions about a DSN; the longest is twice as long.
	// Sentry accepts what is sent to a project that it has to look up, and drops it later.
	sentryPause = 5 * time.Second
	// sentryQuestions are asked about a DSN at most, until two responses in a row agree.
	sentryQuestions = 4
	// questionsPerSecond is what a host is asked at most, about all DSNs together.
	questionsPerSecond = 5
	// maxHosts bounds of how many hosts the pace is kept.
	maxHosts = 1000
	// maxResponse bounds what is read of a response.
	maxResponse = 4 << 10
)

// listed reports whether a list has the server, over TLS: as HOST or HOST:PORT, of which *.DOMAIN
// are all below a domain.
func listed(target *url.URL, hosts []string) bool {
	return target.Scheme == "https" && slices.ContainsFunc(hosts, func(pattern string) bool {
		name, port, found := strings.Cut(pattern, ":")
		if !found {
			port = "443"
		}
		host := strings.ToLower(target.Hostname())
		domain, below := strings.CutPrefix(name, "*")
		return port == portOf(target) && (host == name || below && strings.HasSuffix(host, domain))
	})
}

// clientFor returns who may ask about a DSN of a stack, or what is to be said without asking.
func (s *Sentry) clientFor(
	ctx context.Context, stack *obsv1.ObservabilityStack, dsn *sentrygo.Dsn,
) (*http.Client, judge.DSN) {
	target := dsn.GetAPIURL()
	name, spec, err := s.Platform(ctx, stack)
	named := &obsv1.ObservabilityPlatform{}
	var servers []platform.Endpoint
	if err == nil && spec != nil {
		err = s.Reader.Get(ctx, client.ObjectKey{Name: name}, named)
	}
	if err == nil && spec != nil {
		servers, err = s.Ingest(ctx, named)
	}
	switch {
	case len(servers) > 0 && sameServer(target, servers[0].URL):
		return servers[0].Client, 0 // which trusts whom the platform trusts
	case listed(target, s.Hosts):
		return s.asker.client, 0
	case err != nil: // The platform's status says why.
		return nil, judge.DSNUnreachable
	default:
		return nil, judge.DSNNotAllowed
	}
}

// sameServer reports whether two addresses are those of one server.
func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// asker asks Sentry about DSNs. It returns no error, because those have the DSN's address.
type asker struct {
	client *http.Client
	pause  time.Duration

	mu    sync.Mutex
	hosts map[string]*rate.Limiter
}

// newAsker asks through the proxy of the environment, and follows nobody elsewhere.
func newAsker() *asker {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes, transport.MaxIdleConnsPerHost = 16<<10, 1
	return &asker{pause: sentryPause, hosts: map[string]*rate.Limiter{}, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask returns what two responses in a row say of a DSN.
func (a *asker) ask(ctx context.Context, client *http.Client, dsn *sentrygo.Dsn) judge.DSN {
	var last judge.DSN
	for i := range sentryQuestions {
		if i > 0 && !sleep(ctx, a.pause+rand.N(a.pause)) { // #nosec G404 -- nobody must not guess it
			return judge.DSNUnreachable
		}
		now := a.once(ctx, client, dsn)
		if now == judge.DSNUnreachable || now == judge.DSNLimited || i > 0 && now == last {
			return now
		}
		last = now
	}
	return judge.DSNUnreachable
}

// once sends a report of no events, which nobody sees, and for which key and project are checked.
func (a *asker) once(ctx context.Context, client *http.Client, dsn *sentrygo.Dsn) judge.DSN {
	target := dsn.GetAPIURL()
	if a.limiter(target.Host).Wait(ctx) != nil {
		return judge.DSNUnreachable
	}
	ctx, cancel := context.WithTimeout(ctx, sentryTimeout)
	defer cancel()
	body := fmt.Sprintf("{}\n{\"type\":\"client_report\"}\n{\"timestamp\":%q,\"discarded_events\":[]}\n",
		time.Now().UTC().Format(time.RFC3339))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(body))
	if err != nil {
		return judge.DSNUnreachable
	}
	request.Header.Set("Content-Type", "application/x-sentry-envelope")
	request.Header.Set("User-Agent", "obstack")
	request.Header.Set("X-Sentry-Auth", "Sentry sentry_version=7, sentry_client=obstack, sentry_key="+dsn.GetPublicKey())
	response, err := client.Do(request)
	if err != nil {
		return judge.DSNUnreachable
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return judge.DSNUnreachable
	}
	return outcome(response, text)
}

func (a *asker) limiter(host string) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hosts[host] == nil {
		if len(a.hosts) >= maxHosts {
			clear(a.hosts)
		}
		a.hosts[host] = rate.NewLimiter(questionsPerSecond, questionsPerSecond)
	}
	return a.hosts[host]
}

// outcome of one question. Sentry's Relay gives one reason for keys that are unknown, disabled, of
// another project or of another region.
func outcome(response *http.Response, body []byte) judge.DSN {
	text := strings.ToLower(string(body) + response.Header.Get("X-Sentry-Error"))
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	switch status := response.StatusCode; {
	case !fromSentry(response, body):
		return judge.DSNUnreachable
	case status == http.StatusOK:
		return judge.DSNAccepted
	case status == http.StatusTooManyRequests:
		return judge.DSNLimited
	case says("bad project path parameter", "two different projects", "project mismatch"):
		return judge.DSNOfOtherProject
	case status == http.StatusBadRequest && says("public key", "valid uuid"),
		status == http.StatusUnauthorized,
		status == http.StatusForbidden && !says("projectstate", "cors"):
		return judge.DSNRejected
	default:
		return judge.DSNUnreachable
	}
}

// fromSentry reports whether a response is of Sentry or of what imitates it, and not of a proxy or
// of another server at its address: those name no header of Sentry's and send pages, not objects.
func fromSentry(response *http.Response, body []byte) bool {
	for name, values := range response.Header {
		if strings.HasPrefix(name, "X-Sentry-") || name == "Access-Control-Expose-Headers" &&
			strings.Contains(strings.ToLower(strings.Join(values, ",")), "x-sentry-") {
			return true
		}
	}
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
}
