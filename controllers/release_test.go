// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
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
				spec.Injection.Namespaces = mistyped()
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
			f.clock = f.clock.Add(time.Minute)
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

// What asks for nothing in one cache may ask for it in the next moment, and keeps its stamp.
func TestRolloutReleasesOnlyWhatStaysReleased(t *testing.T) {
	f, stack := newInjecting(t), settingsStack(t, namespace(t))
	f.reconcileStack(t, stack)
	all := f.injected(t, stack, stack.Namespace, 1)
	d := all[0]
	before := stampOf(d)
	annotate := func(value string) {
		if metav1.SetMetaDataAnnotation(&d.ObjectMeta, obsv1.AnnotationStack, value); value == "" {
			delete(d.Annotations, obsv1.AnnotationStack)
		}
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	annotate("")
	if after := f.reconcileStack(t, stack).RequeueAfter; after == 0 || after > 20*time.Second {
		t.Errorf("looks again after %s, want some ten seconds", after)
	}
	annotate("shop")
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	annotate("")
	f.reconcileStack(t, stack)
	if refresh(t, d); stampOf(d) != before {
		t.Errorf("stamp %q, want %q: it asked for the settings again", stampOf(d), before)
	}
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	wantStamp(t, d, "", "")
}

// Anybody can write a stamp. That takes no place of a stack which does not admit the namespace, and
// has nothing restarted there.
func TestRolloutLeavesStampsOfNamespacesThatAreNotAdmitted(t *testing.T) {
	for name, edit := range map[string]func(*obsv1.ObservabilityStackSpec){
		"not admitted": func(*obsv1.ObservabilityStackSpec) {},
		"nobody can say": func(spec *obsv1.ObservabilityStackSpec) {
			spec.Injection = &obsv1.InjectionSpec{Namespaces: mistyped()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, stack := newInjecting(t), settingsStack(t, namespace(t), edit)
			f.reconcileStack(t, stack)
			stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: stack.Status.ConfigHash}
			var forged []*appsv1.Deployment
			for i := range 5 {
				d := annotatedDeployment(excludedNamespace(t), fmt.Sprintf("forged-%d", i), "")
				d.Annotations = nil
				d.Spec.Template.Labels = maps.Clone(d.Spec.Template.Labels) // The selector has the same.
				maps.Copy(d.Spec.Template.Labels, stamp.Labels())
				d.Spec.Template.Annotations = stamp.Annotations()
				create(t, d)
				t.Cleanup(func() { _ = live.Delete(context.WithoutCancel(t.Context()), d) })
				forged = append(forged, d)
			}
			before := generations(t, forged)
			for range 3 {
				f.reconcileStack(t, stack)
				f.clock = f.clock.Add(time.Minute)
			}
			if after := generations(t, forged); after != before {
				t.Errorf("generations add up to %d, want %d: obstack may restart nothing there", after, before)
			}
		})
	}
}

// mistyped is a selector that is not valid.
func mistyped() *obsv1.InjectionNamespaces {
	return &obsv1.InjectionNamespaces{
		From: obsv1.NamespacesFromSelector, Selector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "in", Values: []string{"shop"}}},
		},
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

// What was released and names another stack since is that one's, and the first leaves it alone.
func TestRolloutLeavesWhatAnotherStackHas(t *testing.T) {
	f, first, second := newInjecting(t), settingsStack(t, namespace(t), admitAll), settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, first)
	f.reconcileStack(t, second)
	all := f.injected(t, first, namespace(t), 1)
	d := all[0]
	name := func(annotations map[string]string) {
		d.Annotations = annotations
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	name(nil)
	f.wantStamped(t, first, all, 1)
	f.clock = f.clock.Add(time.Minute)
	f.wantStamped(t, first, all, 0)
	settle(t, d)
	name(map[string]string{obsv1.AnnotationStack: second.Namespace + "/shop"})
	f.reconcileStack(t, second)
	for range 3 {
		f.reconcileStack(t, first)
		f.clock = f.clock.Add(time.Minute)
	}
	refresh(t, d)
	wantStamp(t, d, second.Namespace+"/shop", second.Status.ConfigHash)
}
