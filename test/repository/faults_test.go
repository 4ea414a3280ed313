// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path"
	"regexp"
	"slices"
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
	constants := read(t, "api/v1alpha1/conditions.go")
	// A message that is written in several lines, or made of a constant, is one text.
	joined := regexp.MustCompile(`"\s*\+\s*"`).ReplaceAllString(code.String(), "")
	rows := 0
	for number, line := range lines(t, "docs/faults.md") {
		if !strings.HasSuffix(line, "` |") {
			continue
		}
		row := faultRow.FindStringSubmatch(line)
		if row == nil {
			t.Errorf("docs/faults.md:%d: not a row of five columns with a reason, a message and a test", number+1)
			continue
		}
		rows++
		reason, message, test, variant := row[1], row[2], row[3], row[4]
		if !strings.Contains(tests.String(), "func "+test+"(") {
			t.Errorf("docs/faults.md:%d: there is no %s", number+1, test)
		}
		if !strings.Contains(constants, `= "`+reason+`"`) {
			t.Errorf("docs/faults.md:%d: there is no reason %s", number+1, reason)
		}
		said := joined
		switch {
		case test == "TestGolden":
			said = strings.Join(strings.Fields(read(t, path.Join("controllers/desired/testdata", variant, "want.yaml"))), " ")
			if !strings.Contains(said, "reason: "+reason) {
				t.Errorf("docs/faults.md:%d: %s of %s does not give %s", number+1, variant, test, reason)
			}
		case variant != "" && !strings.Contains(tests.String(), `"`+variant+`"`):
			t.Errorf("docs/faults.md:%d: %s has no case %s", number+1, test, variant)
		}
		if part := slices.IndexFunc(strings.Split(message, "..."), func(part string) bool {
			return !strings.Contains(said, strings.TrimSpace(part))
		}); part >= 0 {
			t.Errorf("docs/faults.md:%d: nothing says %q", number+1, strings.Split(message, "...")[part])
		}
	}
	if rows < 30 {
		t.Errorf("docs/faults.md has %d faults, want at least 30", rows)
	}
}
