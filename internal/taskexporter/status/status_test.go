// SPDX-License-Identifier: Apache-2.0

package status

import (
	"strings"
	"testing"
)

func TestCleanLeavesWhatIsPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"w1@höst-ü: 工作":             "w1@höst-ü: 工作",
		"one\ntwo\tthree\u00a0four": "one two three four",
		"\x1b[2Jcleared\x00":        "\ufffd[2Jcleared\ufffd",
		"a\u202eb\u200bc":           "a\ufffdb\ufffdc",
		"bad \xff\xfe":              "bad \ufffd\ufffd",
		strings.Repeat("x", 30):     strings.Repeat("x", 20),
		strings.Repeat("工", 30):     strings.Repeat("工", 6),
	} {
		if got := Clean(text, 20); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
}
