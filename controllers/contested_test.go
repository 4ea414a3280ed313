// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// An owner that writes its template as a whole, or one with a stamp of long ago from Git, gets
// the wanted stamp at most three times, and is named.
func TestRolloutLeavesAContestedStamp(t *testing.T) {
	type owner func(d *appsv1.Deployment)
	drop := func(d *appsv1.Deployment) {
		for _, key := range policy.StampLabels {
			delete(d.Spec.Template.Labels, key)
		}
		for _, key := range policy.StampAnnotations {
			delete(d.Spec.Template.Annotations, key)
		}
	}
	for name, undo := range map[string]owner{
		"drops it": drop,
		"drops the record too": func(d *appsv1.Deployment) {
			drop(d)
			delete(d.Annotations, obsv1.AnnotationRecord)
		},
		"writes an old one": func(d *appsv1.Deployment) {
			metav1.SetMetaDataLabel(&d.Spec.Template.ObjectMeta, obsv1.StampVersion, "0123456789abcdef")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newInjecting(t)
			f.injector.Client = responding(f.Client.(client.WithWatch))
			ns := excludedNamespace(t)
			stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "queue-"}}
			stack.Spec.Environment = "production"
			create(t, stack)
			d := annotatedDeployment(ns, "queue", stack.Name)
			if err := live.Create(t.Context(), d, client.FieldOwner("queue-operator")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx := context.WithoutCancel(t.Context())
				_ = errors.Join(live.Delete(ctx, d), live.Delete(ctx, stack))
			})
			f.reconcileStack(t, stack)
			stamps := 0
			for range 20 {
				refresh(t, d)
				undo(d)
				metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "round", d.ResourceVersion)
				if err := live.Update(t.Context(), d, client.FieldOwner("queue-operator")); err != nil {
					t.Fatal(err)
				}
				refresh(t, d)
				before := d.Generation
				f.reconcileStack(t, stack)
				if refresh(t, d); d.Generation != before {
					stamps++
				}
				f.clock = f.clock.Add(time.Minute)
			}
			if stamps > 3 {
				t.Errorf("%d stamps in 20 rounds, want at most 3", stamps)
			}
			message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonStampContested)
			if !strings.Contains(message, "Deployment "+ns+"/queue") {
				t.Errorf("message %q, want the workload in it", message)
			}
			events := strings.Join(f.events(), "\n")
			if got := strings.Count(events, "Warning StampContested queue-operator "); got != 1 {
				t.Errorf("events %q, want one that names the field manager", events)
			}
		})
	}
}

// A selector that is mistyped for a moment gives no new budget, also not where the owner drops the
// record with the stamp.
func TestRolloutKeepsBudgetsOfWorkloadsThatAreRefusedForAMoment(t *testing.T) {
	f := newInjecting(t)
	f.injector.Client = responding(f.Client.(client.WithWatch))
	stack := settingsStack(t, namespace(t), admitAll)
	d := annotatedDeployment(excludedNamespace(t), "moody", stack.Namespace+"/shop")
	create(t, d)
	t.Cleanup(func() { _ = live.Delete(context.WithoutCancel(t.Context()), d) })
	stamps := 0
	for range 10 {
		f.reconcileStack(t, stack)
		if refresh(t, d); stampOf(d) != "" {
			stamps++
		}
		change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection.Namespaces = mistyped() })
		f.reconcileStack(t, stack)
		change(t, stack, admitAll)
		refresh(t, d)
		dropStamp(d)
		delete(d.Annotations, obsv1.AnnotationRecord)
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		f.clock = f.clock.Add(time.Minute)
	}
	if stamps == 0 || stamps > 3 {
		t.Errorf("%d stamps in 10 rounds, want at most 3", stamps)
	}
}

// responding says of every workload that the webhook responds, so that it may be one that no
// webhook sees, as those of a Namespace that speaks for them.
func responding(c client.WithWatch) client.Client {
	return interceptor.NewClient(c, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch,
			opts ...client.PatchOption) error {
			err := c.Patch(ctx, obj, patch, opts...)
			if _, probed := obj.GetAnnotations()[obsv1.Probe]; probed && err == nil {
				obj.GetAnnotations()[obsv1.Probe] = obsv1.ProbeReached
			}
			return err
		},
	})
}
