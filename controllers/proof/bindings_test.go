// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"fmt"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// boundStack is a stack with a monitor and an SLO, and what was made for it.
func boundStack(name string) (stack *obsv1.ObservabilityStack, made []client.Object) {
	stack = &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "shop", UID: types.UID(name)},
		Spec: obsv1.ObservabilityStackSpec{
			Python:  &obsv1.PythonSpec{},
			Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Framework: obsv1.FrameworkFastAPI}}},
			SLOs: []obsv1.SLO{{
				Name: "up", Monitor: "api", Indicator: obsv1.IndicatorAvailability, Objective: "99", Window: "30d",
			}},
		},
	}
	for _, component := range desired.Components {
		for _, obj := range component.Build(desired.Effective(stack, nil), desired.Inputs{}).Objects {
			obj.SetOwnerReferences([]metav1.OwnerReference{{UID: stack.UID, Controller: new(true)}})
			obj.SetGeneration(3)
			made = append(made, obj)
		}
	}
	return stack, made
}

// bind has prometheus-operator say whether it accepts an object.
func bind(obj client.Object, status monitoringv1.ConditionStatus) {
	accepted := monitoringv1.ConfigResourceCondition{
		Type: monitoringv1.Accepted, Status: status, ObservedGeneration: obj.GetGeneration(),
		Message: "basicAuth: the password is hunter2",
	}
	bindings := []monitoringv1.WorkloadBinding{{
		Namespace: "monitoring", Name: "k8s", Conditions: []monitoringv1.ConfigResourceCondition{accepted},
	}}
	switch obj := obj.(type) {
	case *monitoringv1.ServiceMonitor:
		obj.Status.Bindings = bindings
	case *monitoringv1.PodMonitor:
		obj.Status.Bindings = bindings
	case *monitoringv1.PrometheusRule:
		obj.Status.Bindings = bindings
	}
}

func newBindings(all []client.Object) (*Bindings, *objects) {
	o := &objects{all: all}
	return &Bindings{
		Interval: time.Minute,
		Reader:   o, Cluster: Cluster{Live: o, Requests: NewRequests()}, Changed: make(chan event.GenericEvent, 100),
		Serves: func(schema.GroupVersionKind) bool { return true },
	}, o
}

// TestBindingsSayWhatIsNotAccepted, wake the stacks concerned when that changes, and copy no text.
func TestBindingsSayWhatIsNotAccepted(t *testing.T) {
	stack, made := boundStack("shop")
	other, others := boundStack("other")
	foreign, foreigners := boundStack("foreign")
	all := append([]client.Object{stack, other, foreign}, made...)
	all = append(append(all, others...), foreigners...)
	b, _ := newBindings(all)
	want := map[judge.Part]string{
		{Kind: obsv1.PartMonitor, Name: "api"}: "prometheus-operator does not accept ServiceMonitor shop-api for " +
			"monitoring/k8s: kubectl describe servicemonitor shop-api says why",
		{Kind: obsv1.PartPython, Name: "python"}: "prometheus-operator does not accept PodMonitor shop-python for " +
			"monitoring/k8s: kubectl describe podmonitor shop-python says why",
		{Kind: obsv1.PartSLO, Name: "up"}: "prometheus-operator does not accept PrometheusRule shop-slo-up for " +
			"monitoring/k8s: kubectl describe prometheusrule shop-slo-up says why",
	}
	for _, obj := range made {
		bind(obj, monitoringv1.ConditionFalse)
	}
	for _, obj := range others {
		bind(obj, monitoringv1.ConditionTrue)
	}
	for _, obj := range foreigners { // with labels as if it were the stack's
		bind(obj, monitoringv1.ConditionFalse)
		obj.SetOwnerReferences(nil)
	}
	look(t, b, "not accepted", stack, want, 1)
	look(t, b, "still not", stack, want, 0)
	for part, message := range want {
		stack.Status.Parts = append(stack.Status.Parts, obsv1.PartStatus{
			Kind: part.Kind, Name: part.Name, Reason: obsv1.ReasonNotAccepted, Message: message,
		})
	}
	b, _ = newBindings(all)
	if got := b.Refused(stack); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a restart: %v, want what the status says", got)
	}
	look(t, b, "not since the restart", stack, want, 0)
	for _, obj := range made {
		obj.SetGeneration(4)
	}
	look(t, b, "changed, and not looked at yet", stack, nil, 1)
}

// look once, which must find only that, of that stack.
func look(t *testing.T, b *Bindings, step string, stack *obsv1.ObservabilityStack, want map[judge.Part]string,
	woken int) {
	t.Helper()
	if err := b.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for of, got := range b.refused {
		if of != client.ObjectKeyFromObject(stack) {
			t.Errorf("%s: %s has %v, want nothing", step, of, got)
		}
	}
	got := b.Refused(stack)
	if fmt.Sprint(got) != fmt.Sprint(want) || len(b.Changed) != woken {
		t.Errorf("%s: %v and %d stacks are woken, want %v and %d", step, got, len(b.Changed), want, woken)
	}
	for len(b.Changed) > 0 {
		if woken := <-b.Changed; woken.Object.GetNamespace() != stack.Namespace {
			t.Errorf("%s: wakes %s", step, woken.Object.GetNamespace())
		}
	}
}

// TestBindingsReadLittle where nobody writes them, and all where somebody does, be it of one stack.
func TestBindingsReadLittle(t *testing.T) {
	const stacks = bindingsPage + 1
	for name, tc := range map[string]struct {
		used  bool
		lists int
	}{
		"the gate is off": {false, 1 + 2 + 2 + 1}, // the stacks, all monitors of both kinds, a sample of the rules
		"the gate is on":  {true, 1 + 2 + 2 + 2},
	} {
		var all, last []client.Object
		for i := range stacks {
			stack, made := boundStack(fmt.Sprintf("shop-%d", i))
			all, last = append(append(all, stack), made...), made
		}
		for _, obj := range last {
			if tc.used {
				bind(obj, monitoringv1.ConditionFalse)
			}
		}
		b, o := newBindings(all)
		if err := b.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		parts := len(b.refused[types.NamespacedName{Namespace: fmt.Sprintf("shop-%d", stacks-1), Name: "shop"}])
		if o.lists != tc.lists || (parts == 3) != tc.used {
			t.Errorf("%s: %d lists, %d parts; want %d lists, and all parts: %t", name, o.lists, parts, tc.lists, tc.used)
		}
	}
}
