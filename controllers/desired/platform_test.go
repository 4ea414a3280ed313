// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestEffectiveIsACopy: the stack and the platform belong to the cache.
func TestEffectiveIsACopy(t *testing.T) {
	platform := readCase(t, "testdata/stack-platform/in.yaml").in.Platform.Spec
	platform.Defaults.Alerts.Labels = obsv1.AlertLabels{labelEnvironment: "everywhere"}
	bare := goldenCase{name: "a stack that says nothing", stack: &obsv1.ObservabilityStack{}}
	bare.stack.Spec.Alerts, bare.stack.Spec.Dashboards = &obsv1.AlertsSpec{}, &obsv1.DashboardsSpec{}
	for _, tc := range append(readCases(t), bare) {
		stack, spec := tc.stack.DeepCopy(), platform.DeepCopy()
		effective := Effective(tc.stack, platform)
		if diff := cmp.Diff(effective, Effective(effective, platform)); diff != "" {
			t.Errorf("%s: what has its defaults changes once more (-once +twice):\n%s", tc.name, diff)
		}
		// A map that the copy shared would show.
		if effective.Spec.Metrics != nil && effective.Spec.Metrics.Labels != nil {
			effective.Spec.Metrics.Labels["shared"] = "yes"
		}
		if effective.Spec.Alerts != nil && effective.Spec.Alerts.Labels != nil {
			effective.Spec.Alerts.Labels["shared"] = "yes"
		}
		if effective.Spec.Dashboards != nil {
			effective.Spec.Dashboards.Labels["shared"] = "yes"
		}
		if diff := cmp.Diff(stack, tc.stack) + cmp.Diff(spec, platform); diff != "" {
			t.Errorf("%s: the stack or the platform is changed (-before +after):\n%s", tc.name, diff)
		}
	}
}
