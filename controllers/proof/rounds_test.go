// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"testing"
	"time"

	"obstack.dev/obstack/controllers/proof/judge"
)

// TestFaultsShowInTime keeps to what the guide says of the default intervals, if nobody is slow.
func TestFaultsShowInTime(t *testing.T) {
	const prometheus, grafana = time.Minute, 10 * time.Minute
	sentry := &Sentry{Interval: 8 * time.Hour}
	for range 1000 {
		rounds := func(interval time.Duration, count int) (all time.Duration) {
			for range count {
				all += pauseOf(interval)
			}
			return all
		}
		for _, fault := range []struct {
			name         string
			takes, bound time.Duration
		}{
			{"of scraping that worked, with its scrape", 30*time.Second + rounds(prometheus, confirmations), 3 * time.Minute},
			{"of scraping that is new", rounds(prometheus, firstConfirmations), 3 * time.Minute},
			{"of dashboards", rounds(grafana, confirmations), 20 * time.Minute},
			{"of a changed DSN", againSoonest + 2*lookEvery + 2*sentryPause + 2*sentryTimeout, 90 * time.Second},
			{"of a key that was disabled", sentry.again(judge.DSNAccepted), 12 * time.Hour},
		} {
			if fault.takes > fault.bound {
				t.Fatalf("a fault %s shows after %s, want at most %s", fault.name, fault.takes, fault.bound)
			}
		}
		if again := sentry.again(judge.DSNAccepted); again < 6*time.Hour {
			t.Fatalf("asks again for a DSN that works after %s, want at least 6h", again)
		}
	}
}
