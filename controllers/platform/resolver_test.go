// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

func stackOf(namespace, platform string) *obsv1.ObservabilityStack {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	stack.Spec.Platform = platform
	return stack
}

func TestResolverFindsThePlatform(t *testing.T) {
	teams := &obsv1.PlatformNamespaces{
		From:     obsv1.PlatformNamespacesFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}},
	}
	named := func(name string, from *obsv1.PlatformNamespaces) *obsv1.ObservabilityPlatform {
		platform := platformOf(obsv1.ObservabilityPlatformSpec{Namespaces: from, Cluster: name})
		platform.Name = name
		return platform
	}
	all := &obsv1.PlatformNamespaces{From: obsv1.PlatformNamespacesFromAll}
	namespaces := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "shop"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "pay"}},
	}
	for name, tc := range map[string]struct {
		platforms []client.Object
		stack     *obsv1.ObservabilityStack
		want      desired.Platform
	}{
		"none":         {nil, stackOf("shop", ""), desired.Platform{}},
		"the default":  {[]client.Object{named("default", nil)}, stackOf("shop", ""), desired.Platform{Name: "default"}},
		"all":          {[]client.Object{named("default", all)}, stackOf("pay", ""), desired.Platform{Name: "default"}},
		"of its team":  {[]client.Object{named("default", teams)}, stackOf("shop", ""), desired.Platform{Name: "default"}},
		"not admitted": {[]client.Object{named("default", teams)}, stackOf("pay", ""), desired.Platform{}},
		"no namespace": {[]client.Object{named("default", teams)}, stackOf("gone", ""), desired.Platform{}},
		"another one": {
			[]client.Object{named("default", nil), named("eu", teams)}, stackOf("shop", "eu"), desired.Platform{Name: "eu"},
		},
		"another one, not admitted": {
			[]client.Object{named("default", nil), named("eu", teams)}, stackOf("pay", "eu"),
			desired.Platform{Name: "eu", Problem: obsv1.ReasonPlatformNotAdmitted},
		},
		"not found": {
			[]client.Object{named("default", nil)}, stackOf("shop", "eu"),
			desired.Platform{Name: "eu", Problem: obsv1.ReasonPlatformNotFound},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := append(append([]client.Object{tc.stack}, namespaces...), tc.platforms...)
			r := Resolver{Reader: fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).Build()}
			got, err := r.For(t.Context(), tc.stack)
			if err != nil || got.Name != tc.want.Name || got.Problem != tc.want.Problem {
				t.Fatalf("platform = %+v, %v, want %+v", got, err, tc.want)
			}
			if has := got.Name != "" && got.Problem == ""; has != (got.Spec != nil) || has && got.Spec.Cluster != got.Name {
				t.Errorf("spec = %+v of platform %+v", got.Spec, got)
			}
			checkStacks(t, r, tc.platforms, got)
		})
	}
}

// checkStacks: the platform that the stack has has it, and no other.
func checkStacks(t *testing.T, r Resolver, platforms []client.Object, has desired.Platform) {
	t.Helper()
	for _, platform := range platforms {
		stacks, err := r.Stacks(t.Context(), platform.(*obsv1.ObservabilityPlatform))
		if uses := has.Spec != nil && platform.GetName() == has.Name; err != nil || (len(stacks) == 1) != uses {
			t.Errorf("stacks of %s = %v, %v, want the stack: %t", platform.GetName(), stacks, err, uses)
		}
	}
}

// delays notes after how long each request was asked for.
type delays struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]

	after []time.Duration
}

func (d *delays) AddAfter(_ reconcile.Request, after time.Duration) { d.after = append(d.after, after) }

// TestHandlerSpreadsStacks: a platform may have all stacks of the cluster.
func TestHandlerSpreadsStacks(t *testing.T) {
	objects := []client.Object{stackOf("elsewhere", "eu")}
	for i := range 100 {
		objects = append(objects, stackOf("shop-"+string(rune('a'+i/26))+string(rune('a'+i%26)), ""))
	}
	handler := Resolver{Reader: fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).Build()}.Handler()
	before := platformOf(obsv1.ObservabilityPlatformSpec{})
	after := platformOf(obsv1.ObservabilityPlatformSpec{Cluster: "eu-1"})
	asked := func(send func(*delays)) []time.Duration {
		d := &delays{}
		send(d)
		return d.after
	}
	update := func(d *delays) {
		handler.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, d)
	}
	if got := asked(update); len(got) != 0 {
		t.Errorf("a change of the status asks for %d stacks, want none", len(got))
	}
	after.Generation = 2
	got := asked(update)
	if len(got) != 100 || got[0] != 0 || got[99] != 99*pace {
		t.Errorf("%d stacks are asked for, the last after %v, want 100 within %s", len(got), got[len(got)-1:], 99*pace)
	}
	if got := asked(func(d *delays) {
		handler.Create(t.Context(), event.CreateEvent{Object: after, IsInInitialList: true}, d)
	}); len(got) != 0 {
		t.Errorf("the start asks for %d stacks, want none", len(got))
	}
	for name, send := range map[string]func(*delays){
		"created": func(d *delays) { handler.Create(t.Context(), event.CreateEvent{Object: after}, d) },
		"deleted": func(d *delays) { handler.Delete(t.Context(), event.DeleteEvent{Object: after}, d) },
	} {
		if got := asked(send); len(got) != 100 {
			t.Errorf("a platform that is %s asks for %d stacks, want 100", name, len(got))
		}
	}
}
