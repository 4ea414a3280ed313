// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"strings"
	"testing"
)

func TestSidecarsAreThoseOfTheDocs(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/guides/injection.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(guide), "Known sidecars are")
	list, _, _ = strings.Cut(list, ".")
	if got := strings.Count(list, "`") / 2; got != len(Sidecars) {
		t.Errorf("the guide lists %d sidecars, want %d", got, len(Sidecars))
	}
	for _, name := range Sidecars {
		if !strings.Contains(list, "`"+name+"`") {
			t.Errorf("the guide does not list %s", name)
		}
	}
}
