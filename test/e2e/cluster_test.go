// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// say prints what the suite does, while it does it.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", args...) }

// await polls until nothing lacks any more, and prints what it waits for. The error says what still
// lacks when the time is over.
func await(ctx context.Context, what string, limit time.Duration, lacking func(context.Context) string) error {
	begin, lacks, printed := time.Now(), "", time.Now()
	say("waiting for %s", what)
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		// What fails only because the time is over would hide what was lacking.
		if now := lacking(ctx); ctx.Err() == nil {
			lacks = now
		}
		if time.Since(printed) > 15*time.Second {
			printed = time.Now()
			say("  still waiting after %.0f s: %s", time.Since(begin).Seconds(), lacks)
		}
		return lacks == "", nil
	})
	if err != nil {
		return fmt.Errorf("%s: not within %s: %s", what, limit, lacks)
	}
	say("  after %.1f s", time.Since(begin).Seconds())
	return nil
}

// eventually is await for a test.
func eventually(t *testing.T, what string, lacking func(context.Context) string) {
	t.Helper()
	if err := await(t.Context(), what, limit, lacking); err != nil {
		t.Fatal(err)
	}
}

// service is a port of a Service. It is asked by way of the API server, which works for every
// kubeconfig.
type service struct{ namespace, name, port string }

var (
	prometheus = service{"monitoring", "prometheus-operated", "web"}
	tracker    = service{"errors", "bugsink", "door"}
	shop       = service{"shop", "api", "http"}
)

// ask sends a request and decodes the response, if it is wanted.
func (c *cluster) ask(ctx context.Context, s service, method, path string, body, into any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	address := fmt.Sprintf("%s/api/v1/namespaces/%s/services/http:%s:%s/proxy%s",
		strings.TrimSuffix(c.config.Host, "/"), s.namespace, s.name, s.port, path)
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, content)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}

// series are what Prometheus returns for a query: the value of each by the value of a label.
func (c *cluster) series(ctx context.Context, query, label string) (map[string]string, error) {
	var response struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	err := c.ask(ctx, prometheus, http.MethodGet, "/api/v1/query?query="+url.QueryEscape(query), nil, &response)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, one := range response.Data.Result {
		value, ok := one.Value[1].(string)
		if !ok {
			return nil, errors.New("a value that is no text")
		}
		found[one.Metric[label]] = value
	}
	return found, nil
}
