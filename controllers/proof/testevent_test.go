// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	sentrygo "github.com/getsentry/sentry-go"
)

func TestTestEventsHaveToBeAccepted(t *testing.T) {
	const accepted, limited = "200 {}", `429 {"detail":"rate limited"}`
	for name, tc := range map[string]struct {
		responses []string
		events    int
		wrong     string
		asked     int
	}{
		"one":                         {[]string{accepted}, 1, "", 1},
		"two":                         {[]string{accepted}, 2, "", 2},
		"a key that is new":           {[]string{rejected, accepted}, 1, "", 2},
		"a key that is not known":     {[]string{rejected}, 1, "Sentry rejects the key of the DSN", 2},
		"what is dropped later":       {[]string{accepted, rejected}, 2, "Sentry rejects the key of the DSN", 3},
		"a quota that is used up":     {[]string{limited}, 1, "refuses events for a while", 1},
		"another server":              {[]string{"404 <html>"}, 1, "is not Sentry", 2},
		"a server that is in trouble": {[]string{`500 {"detail":""}`}, 1, "is in trouble", 2},
	} {
		t.Run(name, func(t *testing.T) {
			relay := newFakeRelay(t, tc.responses...)
			ids := []string{strings.Repeat("a", 32), strings.Repeat("b", 32)}[:tc.events]
			err := sendTestEvents(t.Context(), relay.dsn("1"), ids, time.Millisecond)
			if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("the error is %v, want %q", err, tc.wrong)
			}
			if err != nil && strings.Contains(err.Error(), markedKey) {
				t.Error("the error has the key")
			}
			if relay.asked() != tc.asked {
				t.Errorf("%d events were sent, want %d", relay.asked(), tc.asked)
			}
		})
	}
}

func TestTestEventsDisturbNobody(t *testing.T) {
	t.Setenv("SENTRY_ENVIRONMENT", "production")
	relay := newFakeRelay(t, "200 {}")
	id := strings.Repeat("a", 32)
	if err := sendTestEvents(t.Context(), relay.dsn("1"), []string{id}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	event := sentrygo.Event{}
	if err := json.Unmarshal([]byte(strings.Split(relay.bodies[0], "\n")[2]), &event); err != nil {
		t.Fatal(err)
	}
	if string(event.EventID) != id || event.Level != sentrygo.LevelDebug || event.Environment != "production" ||
		len(event.Fingerprint) != 1 || event.Fingerprint[0] != "obstack-test" {
		t.Errorf("the event is %+v", event)
	}
}

func TestTestEventsNeedADSN(t *testing.T) {
	relay := newFakeRelay(t, "200 {}")
	host := strings.TrimPrefix(relay.URL, "http://")
	relay.Close()
	for dsn, want := range map[string]string{
		"":                                    "SENTRY_DSN is not set",
		"https://" + markedKey + "@host/shop": "does not hold a Sentry DSN",
		"http://" + markedKey + "@" + host + "/1": "the host of the DSN does not respond in this namespace: it refuses " +
			"the connection",
	} {
		err := sendTestEvents(t.Context(), dsn, []string{strings.Repeat("a", 32)}, time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), markedKey) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}
