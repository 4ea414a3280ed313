// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/promclient"
)

const (
	// probeTimeout bounds what is asked of one server.
	probeTimeout = 15 * time.Second
	// probeLimit bounds what is read of its response, in bytes.
	probeLimit = 64 << 10
)

// askPrometheus reports what is wrong with a server that should evaluate queries, and its version.
func askPrometheus(ctx context.Context, endpoint Endpoint) (version string, problem *Problem) {
	asked := promclient.Client{URL: endpoint.URL, HTTP: endpoint.Client}
	if err := asked.Query(ctx, "vector(1)", func(promclient.Sample) {}); err != nil {
		return "", unreachable(endpoint, err)
	}
	var info struct {
		Data struct{ Version string }
	}
	// Some servers do not say: their version stays unknown.
	_ = get(ctx, endpoint, endpoint.URL.JoinPath("api/v1/status/buildinfo"), &info)
	return clean(info.Data.Version), nil
}

// askGrafana reports what is wrong with Grafana, or with the token.
func askGrafana(ctx context.Context, endpoint Endpoint) (version string, problem *Problem) {
	search := endpoint.URL.JoinPath("api/search")
	search.RawQuery = url.Values{"limit": {"1"}}.Encode()
	if err := get(ctx, endpoint, search, &[]json.RawMessage{}); err != nil {
		return "", unreachable(endpoint, err)
	}
	var health struct{ Version string }
	_ = get(ctx, endpoint, endpoint.URL.JoinPath("api/health"), &health)
	return clean(health.Version), nil
}

// askSentry reports what is wrong with Sentry's API, or with the token.
func askSentry(organization string) func(context.Context, Endpoint) (string, *Problem) {
	return func(ctx context.Context, endpoint Endpoint) (string, *Problem) {
		// A list of organizations is what every token may see, though it may be empty.
		target := endpoint.URL.JoinPath("api/0/organizations") // Sentry's addresses end in a slash.
		if organization != "" {
			target = target.JoinPath(organization)
		}
		err := get(ctx, endpoint, target.JoinPath("/"), &json.RawMessage{})
		if errors.Is(err, promclient.NotServed) && organization != "" {
			return "", &Problem{Reason: obsv1.ReasonUnauthorized, Message: fmt.Sprintf(
				"sentry: there is no organization %s that the token may see: correct organization, or the token", organization)}
		}
		if err != nil {
			return "", unreachable(endpoint, err)
		}
		return "", nil
	}
}

// get decodes a response. Its errors hold nothing that the server or the network says.
func get(ctx context.Context, endpoint Endpoint, target *url.URL, into any) error {
	body, err := promclient.Get(ctx, endpoint.Client, target)
	if err != nil {
		return err
	}
	defer body.Close()
	if json.NewDecoder(io.LimitReader(body, probeLimit)).Decode(into) != nil {
		return errNotUnderstood
	}
	return nil
}

var errNotUnderstood = errors.New("its response is not that of such a server")

// unreachable is the condition of a server that was asked and did not respond as it should.
func unreachable(endpoint Endpoint, err error) *Problem {
	reason := obsv1.ReasonUnreachable
	if errors.Is(err, promclient.Denied) {
		reason = obsv1.ReasonUnauthorized
	}
	return &Problem{Reason: reason, Message: endpoint.Name + ": " + err.Error()}
}

var versionFormat = regexp.MustCompile(`^[0-9A-Za-z][-0-9A-Za-z.+_]{0,63}$`)

// clean is a version, or nothing if it does not look like one.
func clean(version string) string {
	if version = strings.TrimSpace(version); !versionFormat.MatchString(version) {
		return ""
	}
	return version
}
