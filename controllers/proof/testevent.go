// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	sentrygo "github.com/getsentry/sentry-go"

	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// SendTestEvents sends events to a DSN, one for each ID, as applications do: by Sentry's SDK, which
// reads SENTRY_ENVIRONMENT and SENTRY_RELEASE. They are of level debug and make one issue of their
// own. All have to be accepted; the error says nothing of the DSN.
func SendTestEvents(ctx context.Context, dsn string, ids []string) error {
	return sendTestEvents(ctx, dsn, ids, sentryPause)
}

func sendTestEvents(ctx context.Context, dsn string, ids []string, pause time.Duration) error {
	if dsn == "" {
		return errors.New("SENTRY_DSN is not set: the Pod has no settings of a stack, or Sentry is off there")
	}
	if _, ok := desired.ParseDSN(dsn); !ok {
		return errors.New("SENTRY_DSN does not hold a Sentry DSN: write https://PUBLIC_KEY@HOST/PROJECT_NUMBER")
	}
	response := &lastResponse{}
	client, err := sentrygo.NewClient(sentrygo.ClientOptions{
		Dsn: dsn, Transport: sentrygo.NewHTTPSyncTransport(),
		HTTPClient: &http.Client{Transport: response, Timeout: sentryTimeout},
	})
	if err != nil {
		return errors.New("SENTRY_DSN, SENTRY_ENVIRONMENT or SENTRY_RELEASE is not what Sentry's SDK takes")
	}
	var last error
	for i := 0; i < len(ids); i++ {
		err := response.to(client, ids[i])
		if err != nil && (last != nil || response.outcome == judge.DSNLimited) {
			return err
		}
		if last = err; err != nil {
			i-- // Sentry takes some seconds to know a new key.
		}
		// It accepts what is sent to a project that it has to look up, and may drop it later.
		if i < len(ids)-1 && !sleep(ctx, pause+rand.N(pause)) { // #nosec G404 -- nobody must not guess it
			return ctx.Err()
		}
	}
	return nil
}

// to sends an event, and says why it is not accepted.
func (l *lastResponse) to(client *sentrygo.Client, id string) error {
	*l = lastResponse{}
	event := sentrygo.NewEvent()
	event.EventID, event.Level, event.Message = sentrygo.EventID(id), sentrygo.LevelDebug, "Test event of obstack"
	event.Fingerprint, event.Tags = []string{"obstack-test"}, map[string]string{"obstack.test": "verify"}
	client.CaptureEvent(event, nil, sentrygo.NewScope())
	return l.problem()
}

// lastResponse sends requests, and keeps what came of the last one, which Sentry's SDK does not.
type lastResponse struct {
	outcome judge.DSN
	failure promclient.Failure
}

// RoundTrip implements http.RoundTripper.
func (l *lastResponse) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		l.failure = promclient.FailureOf(err)
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		l.failure = promclient.FailureOf(err)
	} else {
		l.outcome = outcome(response, body)
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

func (l *lastResponse) problem() error {
	switch {
	case l.failure != "":
		return fmt.Errorf("the host of the DSN does not respond in this namespace: %w; see NetworkPolicies, the DNS and "+
			"HTTPS_PROXY", l.failure)
	case l.outcome == judge.DSNUnreachable || l.outcome == 0:
		return errors.New("what responds at the host of the DSN is not Sentry, or is in trouble: see its log")
	case l.outcome != judge.DSNAccepted:
		return errors.New(l.outcome.Message("the DSN"))
	}
	return nil
}
