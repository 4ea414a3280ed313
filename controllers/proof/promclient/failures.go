// SPDX-License-Identifier: Apache-2.0

package promclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"regexp"
	"syscall"
)

// Failure is why a server gave no response. Its words are ours: what the network or a server says
// can have addresses and secrets in it, and failures get into the status of stacks.
type Failure string

// Error implements error.
func (f Failure) Error() string { return string(f) }

// Why there is no response.
const (
	// NotServed is what a server says to the part of the API that it does not have.
	NotServed Failure = "it does not serve this part of the API"
	// Denied credentials.
	Denied Failure = "it denies access (401 or 403)"
	// NotUnderstood is what is not a response of the API.
	NotUnderstood Failure = "its response is not that of Prometheus' API"
	// Partial is a response that lacks what one of several servers has.
	Partial Failure = "a server behind it does not respond"
	// TooLarge is a response over the limits.
	TooLarge Failure = "its response is too large"
	// Refused is a query that it does not evaluate now.
	Refused Failure = "it responds with an error"
	// Redirected is a response that names another address, for which the credentials are not.
	Redirected Failure = "it redirects to another address, which is not asked"
	// TimedOut is no response, or not all of it, in time.
	TimedOut Failure = "it does not respond in time"
	// Insecure is a connection without trust.
	Insecure Failure = "the TLS connection to it fails"
	// ConnectionRefused is an address where nothing listens.
	ConnectionRefused Failure = "it refuses the connection"
	// Unresolved is a name that the DNS does not know.
	Unresolved Failure = "its name is not known"
	// Unreachable is any other trouble on the way.
	Unreachable Failure = "it cannot be reached"
)

// FailureOf a connection, from what the client says.
func FailureOf(err error) Failure {
	var known Failure
	var timeout net.Error
	var unknown *net.DNSError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case errors.As(err, &unknown):
		return Unresolved
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &record), errors.As(err, &alert):
		return Insecure
	default:
		return Unreachable
	}
}

// StatusFailure is that of an HTTP status.
func StatusFailure(status int) Failure {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return Denied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return NotServed
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return Redirected
	default:
		return Refused
	}
}

// fault that an error of Prometheus means, and what to do.
type fault struct {
	pattern *regexp.Regexp
	text    string
}

// The first that matches counts.
var (
	scrapeFaults = []fault{
		{regexp.MustCompile(`x509|tls:|certificate|HTTP response to HTTPS`),
			"TLS fails: compare scheme and tlsConfig with what the port speaks"},
		{regexp.MustCompile(`HTTP status 40[13]`), "access is denied (401 or 403): set authorization or basicAuth"},
		{regexp.MustCompile(`HTTP status 404`), "not found (404): set path to where the metrics are"},
		{regexp.MustCompile(`HTTP status`), "the response is an error of HTTP: see the application's log"},
		{regexp.MustCompile(`limit exceeded`), "over a limit: raise sampleLimit, or expose fewer series and labels"},
		{regexp.MustCompile(`deadline exceeded|timeout`),
			"timeout: raise scrapeTimeout, see what makes the application slow, or admit Prometheus in NetworkPolicies"},
		{regexp.MustCompile(`connection refused`), "connection refused: nothing listens on the port"},
		{regexp.MustCompile(`dial|no such host|unreachable|no route|reset|EOF|broken pipe`), "it cannot be reached"},
		{regexp.MustCompile(`Content-Type|token|parsing|unexpected|invalid|expected`),
			"not metrics: what path serves is not in Prometheus' format"},
	}
	ruleFaults = []fault{
		{regexp.MustCompile(`timed out|deadline exceeded|timeout`), "timeout"},
		{regexp.MustCompile(`too many samples|limit`), "over a limit"},
		{regexp.MustCompile(`many-to-many|same labelset|matching labels|duplicate`), "several series have the same labels"},
		{regexp.MustCompile(`parse|unknown function|unexpected`), "the expression is not understood"},
	}
)

// quoted is where an error names an address, whose words must not decide.
var quoted = regexp.MustCompile(`"[^"]*"`)

// scrapeFault is what the last error of a target means.
func scrapeFault(text string) string {
	if text == "" {
		return "not scraped yet"
	}
	return faultOf(scrapeFaults, text)
}

// ruleFault is what the last error of a rule means.
func ruleFault(text string) string { return faultOf(ruleFaults, text) }

func faultOf(faults []fault, text string) string {
	text = quoted.ReplaceAllString(text, "")
	for _, f := range faults {
		if f.pattern.MatchString(text) {
			return f.text
		}
	}
	return "another error, which Prometheus shows on its pages"
}
