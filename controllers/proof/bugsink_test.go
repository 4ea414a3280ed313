// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/test/integration"
)

// TestAskerOnBugsink asks a real server about keys that it knows and does not, and leaves no event.
func TestAskerOnBugsink(t *testing.T) {
	parts := os.Getenv("OBSTACK_INTEGRATION")
	if _, err := os.Stat(filepath.Join(parts, "bugsink")); parts == "" || err != nil {
		t.Skip("SKIPPED, NOT TESTED: no real Bugsink; run with OBSTACK_INTEGRATION=$(hack/integration/sentry.sh)")
	}
	server, err := integration.StartBugsink(parts, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	var dsns []string
	for _, name := range []string{"api", "worker"} {
		dsn, err := server.Project(name)
		if err != nil {
			t.Fatal(err)
		}
		dsns = append(dsns, dsn)
	}
	key := dsns[0][strings.Index(dsns[0], "//")+2 : strings.Index(dsns[0], "@")]
	otherKey := dsns[1][strings.Index(dsns[1], "//")+2 : strings.Index(dsns[1], "@")]
	for name, tc := range map[string]struct {
		dsn  string
		want judge.DSN
	}{
		"its own key":              {dsns[0], judge.DSNAccepted},
		"the key of another":       {strings.Replace(dsns[0], key, otherKey, 1), judge.DSNRejected},
		"a key that is not known":  {strings.Replace(dsns[0], key, markedKey, 1), judge.DSNRejected},
		"no key at all":            {strings.Replace(dsns[0], key, "shop", 1), judge.DSNRejected},
		"a project that is not":    {dsns[0][:strings.LastIndex(dsns[0], "/")] + "/999", judge.DSNRejected},
		"another page of a server": {dsns[0][:strings.LastIndex(dsns[0], "/")] + "/accounts/1", judge.DSNUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			asker := newAsker()
			asker.pause = 100 * time.Millisecond
			dsn, ok := desired.ParseDSN(tc.dsn)
			if !ok {
				t.Fatal("no DSN")
			}
			if got := asker.ask(t.Context(), asker.client, dsn); got != tc.want {
				t.Errorf("the outcome is %d, want %d", got, tc.want)
			}
		})
	}
	for _, dsn := range dsns {
		if events, err := server.Events(dsn); err != nil || events != 0 {
			t.Errorf("there are %d events (%v), want none", events, err)
		}
	}
}
