// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// injected makes a stack that admits all, and Deployments that the webhook stamps.
func (f *injecting) injected(t *testing.T, stack *obsv1.ObservabilityStack, namespace string,
	n int) []*appsv1.Deployment {
	t.Helper()
	var all []*appsv1.Deployment
	for i := range n {
		d := annotatedDeployment(namespace, fmt.Sprintf("api-%02d", i), stack.Namespace+"/shop")
		create(t, d)
		wantStamp(t, d, stack.Namespace+"/shop", stack.Status.ConfigHash)
		all = append(all, d)
	}
	return all
}

// generations of Deployments.
func generations(t *testing.T, all []*appsv1.Deployment) (sum int64) {
	t.Helper()
	for _, d := range all {
		refresh(t, d)
		sum += d.Generation
	}
	return sum
}

// Whatever becomes of a stack, and whatever mistake its owner makes, no template changes.
func TestRolloutKeepsTheStampOfAStackThatGivesNothing(t *testing.T) {
	for name, undo := range map[string]func(t *testing.T, stack *obsv1.ObservabilityStack){
		"the stack is deleted": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			if err := live.Delete(t.Context(), stack); err != nil {
				t.Fatal(err)
			}
		},
		"the stack is deleted and created again": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			if err := live.Delete(t.Context(), stack); err != nil {
				t.Fatal(err)
			}
			settingsStack(t, stack.Namespace, admitAll)
		},
		"the last setting of a suspended Manual stack goes": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
				spec.Environment, spec.Suspend = "", true
				spec.Injection.Rollout = &obsv1.RolloutSpec{Policy: obsv1.RolloutManual}
			})
		},
		"the last setting goes": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "" })
		},
		"the namespace is not admitted any more": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection = nil })
		},
		"the selector is mistyped": func(t *testing.T, stack *obsv1.ObservabilityStack) {
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
				spec.Injection.Namespaces = &obsv1.InjectionNamespaces{
					From: obsv1.NamespacesFromSelector, Selector: &metav1.LabelSelector{
						MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "in", Values: []string{"shop"}}},
					},
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, stack := newInjecting(t), settingsStack(t, namespace(t), admitAll)
			f.reconcileStack(t, stack)
			all := append(f.injected(t, stack, namespace(t), 3), f.injected(t, stack, stack.Namespace, 3)...)
			before := generations(t, all)
			undo(t, stack)
			for range 3 {
				if err := live.Get(t.Context(), client.ObjectKeyFromObject(stack), stack); err == nil {
					f.reconcileStack(t, stack)
				}
				for _, d := range all {
					f.reconcileWorkload(t, d)
				}
			}
			if after := generations(t, all); after != before {
				t.Errorf("generations add up to %d, want %d: no template may change", after, before)
			}
		})
	}
}

// An owner who takes the annotation away gets a template without the stamp, a few workloads at
// a time, and neither from a suspended stack nor from one that leaves it to owners.
func TestRolloutReleasesWhatItsOwnerTakesBack(t *testing.T) {
	for name, undo := range map[string]func(d *appsv1.Deployment){
		"the annotation is removed": func(d *appsv1.Deployment) { delete(d.Annotations, obsv1.AnnotationStack) },
		"opted out":                 func(d *appsv1.Deployment) { d.Annotations[obsv1.AnnotationInject] = "false" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newInjecting(t)
			stack := settingsStack(t, namespace(t), admitAll, func(spec *obsv1.ObservabilityStackSpec) {
				spec.Injection.Rollout = &obsv1.RolloutSpec{MaxConcurrent: 2, Policy: obsv1.RolloutManual}
			})
			f.reconcileStack(t, stack)
			all := f.injected(t, stack, namespace(t), 5)
			for _, d := range all {
				undo(d)
				if err := live.Update(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			f.wantStamped(t, stack, all, 5)
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection.Rollout.Policy, spec.Suspend = "", true })
			f.wantStamped(t, stack, all, 5)
			message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonDrifted)
			if want := "remove the stamp of Deployment " + all[0].Namespace + "/api-00"; !strings.Contains(message, want) {
				t.Errorf("message %q, want %q in it", message, want)
			}
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = false })
			f.wantStamped(t, stack, all, 3)
			f.wantStamped(t, stack, all, 3) // It waits for the two that roll out.
			for _, want := range []int{1, 0} {
				for _, d := range all {
					settle(t, d)
				}
				f.wantStamped(t, stack, all, want)
			}
			for _, d := range all {
				wantStamp(t, d, "", "")
				if record := d.Annotations[obsv1.AnnotationRecord]; record != "" {
					t.Errorf("%s keeps the record %s", d.Name, record)
				}
			}
		})
	}
}

// wantStamped checks how many Deployments have a stamp after a pass.
func (f *injecting) wantStamped(t *testing.T, stack *obsv1.ObservabilityStack, all []*appsv1.Deployment, want int) {
	t.Helper()
	f.reconcileStack(t, stack)
	got := 0
	for _, d := range all {
		if refresh(t, d); d.Spec.Template.Labels[obsv1.StampStack] != "" {
			got++
		}
	}
	if got != want {
		t.Fatalf("%d of %d have a stamp, want %d", got, len(all), want)
	}
}
