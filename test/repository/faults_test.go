// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// faultRow is a row of docs/faults.md whose last column names a test.
var faultRow = regexp.MustCompile("^\\| [^|]+ \\| [^|]+ \\| `(\\w+)` \\| ([^|]+) \\| `(Test\\w+)(?:/([\\w-]+))?` \\|$")

// TestFaultsAreShown finds for each fault of docs/faults.md the test that shows it, and what
// obstack says of it in the code, or in the golden file of that test.
func TestFaultsAreShown(t *testing.T) {
	var tests, code strings.Builder
	for _, file := range files(t, "*.go") {
		if strings.HasSuffix(file, "_test.go") {
			tests.WriteString(read(t, file))
		} else {
			code.WriteString(read(t, file))
		}
	}
	// A message that is written in several lines is one text.
	joined := regexp.MustCompile(`"\s*\+\s*"`).ReplaceAllString(code.String(), "")
	rows := 0
	for number, line := range lines(t, "docs/faults.md") {
		if !strings.HasSuffix(line, "` |") {
			continue
		}
		rows++
		if lacks := lacksOfFault(t, line, tests.String(), joined); lacks != "" {
			t.Errorf("docs/faults.md:%d: %s", number+1, lacks)
		}
	}
	if rows < 30 {
		t.Errorf("docs/faults.md has %d faults, want at least 30", rows)
	}
}

// lacksOfFault says what a row of the table has that tests and code have not.
func lacksOfFault(t *testing.T, line, tests, code string) string {
	t.Helper()
	row := faultRow.FindStringSubmatch(line)
	if row == nil {
		return "not a row of five columns with a reason, a message and a test"
	}
	reason, message, test, variant := row[1], row[2], row[3], row[4]
	switch {
	case !strings.Contains(tests, "func "+test+"("):
		return "there is no " + test
	case !strings.Contains(code, `= "`+reason+`"`):
		return "there is no reason " + reason
	case test == "TestGolden":
		golden := read(t, path.Join("controllers/desired/testdata", variant, "want.yaml"))
		code = strings.Join(strings.Fields(golden), " ")
		if !strings.Contains(code, "reason: "+reason+" ") {
			return variant + " does not give " + reason
		}
	case variant != "" && !strings.Contains(tests, `"`+variant+`"`):
		return test + " has no case " + variant
	}
	for part := range strings.SplitSeq(message, "...") {
		if !strings.Contains(code, strings.TrimSpace(part)) {
			return "nothing says " + part
		}
	}
	return ""
}
