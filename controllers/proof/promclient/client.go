// SPDX-License-Identifier: Apache-2.0

// Package promclient asks whatever serves Prometheus' query API, with bounded memory and time:
// responses are decoded while they arrive, and what proofs do not need of an element is dropped at
// once. client_golang's client reads a whole response before it decodes it. Nothing that a server
// says leaves this package as text; errors are Failures.
package promclient

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Limits of one request.
const (
	timeout   = 30 * time.Second
	bodyLimit = 256 << 20
	// valueLimit bounds what is in memory at a time, if the client does not: one sample, target or
	// rule.
	valueLimit = 4 << 20
	// drained of an error's text, at most, a connection can be used again.
	drained = 16 << 10
)

// Client of one server.
type Client struct {
	// URL in front of /api/v1.
	URL *url.URL
	// HTTP has the credentials.
	HTTP *http.Client
	// ValueLimit is how many bytes one sample, series, target or rule may have; 4 MiB if it is 0.
	ValueLimit int
}

// Sample of an instant query.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression, which must give a vector, now. A server that stands before several
// is asked to fail rather than to leave some of them out: what is missing would look like a fault.
func (c Client) Query(ctx context.Context, expr string, each func(Sample)) error {
	params := url.Values{"query": {expr}, "partial_response": {"false"}, "deny_partial_response": {"1"}}
	_, err := c.stream(ctx, "query", params, "result", func(d decoder) error {
		var sample struct {
			Metric map[string]string
			Value  [2]any
		}
		if err := d.Decode(&sample); err != nil {
			return err
		}
		text, _ := sample.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return NotUnderstood
		}
		each(Sample{sample.Metric, value})
		return nil
	})
	return err
}

// Target that a Prometheus scrapes.
type Target struct {
	Labels map[string]string
	// Pool is the job that it belongs to, such as serviceMonitor/NAMESPACE/NAME/0.
	Pool string
	Up   bool
	// Fault is why it is not up, in words of ours.
	Fault string
}

// Targets are those that a Prometheus scrapes, or tries to.
func (c Client) Targets(ctx context.Context, each func(Target)) error {
	_, err := c.stream(ctx, "targets", url.Values{"state": {"active"}}, "activeTargets", func(d decoder) error {
		var target struct {
			Labels                        map[string]string
			ScrapePool, Health, LastError string
		}
		if err := d.Decode(&target); err != nil {
			return err
		}
		up := target.Health == "up"
		found := Target{Labels: target.Labels, Pool: target.ScrapePool, Up: up}
		if !up {
			found.Fault = scrapeFault(target.LastError)
		}
		each(found)
		return nil
	})
	return err
}

// Group of rules that a server evaluates.
type Group struct {
	Name, File string
	// Evaluated reports whether every rule has been evaluated.
	Evaluated bool
	// Failing is the first rule whose last evaluation failed, and Fault why, in words of ours.
	Failing, Fault string
}

// Rules are the groups that have rules which one of the selectors selects by their labels. Servers
// that cannot select give more of them. A Thanos leaves out those of a ruler that does not respond,
// and warns: what is missing would look like a fault.
func (c Client) Rules(ctx context.Context, selectors []string, each func(Group)) error {
	params := url.Values{"match[]": selectors, "exclude_alerts": {"true"}}
	warned, err := c.stream(ctx, "rules", params, "groups", func(d decoder) error {
		group := Group{Evaluated: true}
		err := d.object(func(key string) error {
			switch key {
			case "name":
				return d.Decode(&group.Name)
			case "file":
				return d.Decode(&group.File)
			case "rules":
				return d.array(func() error { return d.rule(&group) })
			}
			return d.skip()
		})
		if err == nil {
			each(group)
		}
		return err
	})
	if err == nil && warned {
		return Partial
	}
	return err
}

// rule adds the rule that comes next to its group.
func (d decoder) rule(group *Group) error {
	var rule struct{ Name, Health, LastError string }
	if err := d.Decode(&rule); err != nil {
		return err
	}
	switch {
	case rule.Health == "ok":
	case rule.Health == "err" && group.Failing == "":
		group.Failing, group.Fault = rule.Name, ruleFault(rule.LastError)
	case rule.Health != "err":
		group.Evaluated = false
	}
	return nil
}

// IsPrometheus reports whether the server is a Prometheus and no other that serves its queries:
// some of those always say that there are no rules.
func (c Client) IsPrometheus(ctx context.Context) (bool, error) {
	found := false
	_, err := c.read(ctx, "status/runtimeinfo", nil, func(d decoder) error {
		return d.object(func(key string) error {
			found = found || key == "reloadConfigSuccess"
			return d.skip()
		})
	})
	if errors.Is(err, NotServed) {
		return false, nil
	}
	return found, err
}

// stream calls element for each element of a list in the data of a response, and reports whether
// the server warns of it.
func (c Client) stream(ctx context.Context, path string, params url.Values, list string,
	element func(decoder) error) (warned bool, err error) {
	return c.read(ctx, path, params, func(d decoder) error {
		return d.object(func(key string) error {
			if key == list {
				return d.array(func() error { return element(d) })
			}
			return d.skip()
		})
	})
}

// read calls data where the data of a response begins, and reports whether the server warns of it.
func (c Client) read(
	ctx context.Context, path string, params url.Values, data func(decoder) error,
) (warned bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	target := c.URL.JoinPath("api/v1", path)
	target.RawQuery = params.Encode()
	body, err := Get(ctx, c.HTTP, target)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return newDecoder(body, cmp.Or(c.ValueLimit, valueLimit)).response(data)
}

// Get asks a server for JSON. The response is to be closed; the error is a Failure.
func Get(ctx context.Context, client *http.Client, address *url.URL) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return nil, NotUnderstood
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, FailureOf(err)
	}
	if response.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, response.Body, drained)
		_ = response.Body.Close()
		return nil, StatusFailure(response.StatusCode)
	}
	return response.Body, nil
}
