// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestNothingIsRecordedInVain: what no rule and no dashboard reads costs for nothing.
func TestNothingIsRecordedInVain(t *testing.T) {
	var dashboards strings.Builder
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dashboards.Write(content)
	}
	recorded := 0
	for _, tc := range readCases(t) {
		groups := rulesOf(tc)
		for _, rule := range slices.Concat(rulesIn(groups)...) {
			if rule.Record == "" {
				continue
			}
			recorded++
			if !strings.Contains(dashboards.String(), rule.Record+"{") && !readsIt(groups, rule) {
				t.Errorf("%s: nothing reads %s of SLO %s", tc.name, rule.Record, rule.Labels["slo"])
			}
		}
	}
	if recorded < 50 {
		t.Errorf("only %d recorded series were looked at", recorded)
	}
}

func rulesIn(groups []monitoringv1.RuleGroup) (rules [][]monitoringv1.Rule) {
	for _, group := range groups {
		rules = append(rules, group.Rules)
	}
	return rules
}

// readsIt looks for a rule that reads a recorded series of that very SLO: another
// one may have the alert that this one has not.
func readsIt(groups []monitoringv1.RuleGroup, recorded monitoringv1.Rule) bool {
	for _, rule := range slices.Concat(rulesIn(groups)...) {
		for selector := range strings.SplitSeq(rule.Expr.String(), "}") {
			if strings.Contains(selector, recorded.Record+"{") && strings.HasSuffix(selector,
				`slo="`+recorded.Labels["slo"]+`"`) {
				return true
			}
		}
	}
	return false
}

// TestBurnRatesThatCannotComeTrue are left out: there is no share above 1.
func TestBurnRatesThatCannotComeTrue(t *testing.T) {
	for objective, want := range map[string]string{
		"99.9": "1h 6h 1d 3d", "93.1": "1h 6h 1d 3d", "93": "6h 1d 3d", "83.4": "6h 1d 3d", "83.3": "1d 3d", "66.6": "3d",
		"50": "3d",
	} {
		r := sloRules{budget: (100 - number(objective)) / 100}
		var long []string
		for _, b := range append(r.burns(obsv1.BurnAlert{}, burnFast), r.burns(obsv1.BurnAlert{}, burnSlow)...) {
			long = append(long, b.long)
		}
		if got := strings.Join(long, " "); got != want {
			t.Errorf("objective %s: the long windows are %q, want %q", objective, got, want)
		}
	}
}
