// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// listed is a reader of stacks.
type listed struct {
	client.Reader
	stacks []obsv1.ObservabilityStack
}

func (l listed) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*obsv1.ObservabilityStackList).Items = l.stacks
	return nil
}

// TestMetricsShowEachCondition with the status that it has, and no other.
func TestMetricsShowEachCondition(t *testing.T) {
	stack := obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	stack.Status.Conditions = []metav1.Condition{
		{Type: obsv1.Ready, Status: metav1.ConditionTrue}, {Type: obsv1.Verified, Status: metav1.ConditionUnknown},
		{Type: obsv1.TasksReady, Status: metav1.ConditionFalse},
	}
	fresh := obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fresh"}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&stackMetrics{listed{stacks: []obsv1.ObservabilityStack{stack, fresh}}})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			got[family.GetName()+" "+strings.Join(labels, " ")] = metric.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"obstack_stack_condition shop web True Ready":       1,
		"obstack_stack_condition shop web Unknown Verified": 1,
		"obstack_stack_condition shop web False TasksReady": 1,
		"obstack_stacks True":                               1,
		"obstack_stacks False":                              0,
		"obstack_stacks Unknown":                            1,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("metrics %v (-want +got):\n%s", slices.Sorted(maps.Keys(got)), diff)
	}
}
