// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
)

func TestClaimsAreParsed(t *testing.T) {
	for _, want := range []claim{{take, "a"}, {keep, "a"}, {leave, "a"}, {ask, "a b"}} {
		if got, ok := parseClaim(want.bytes()); !ok || got != want {
			t.Errorf("%q is read as %v, %v", want.bytes(), got, ok)
		}
	}
	for _, text := range []string{"", "take", "take ", "nonsense a", "TAKE a", "take " + strings.Repeat("a", maxClaim+1)} {
		if got, ok := parseClaim([]byte(text)); ok {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
