// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/time/rate"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// clusterOf has stacks, and the same EndpointSlices in each namespace.
type clusterOf struct {
	client.Reader
	stacks []obsv1.ObservabilityStack
	slices []discoveryv1.EndpointSlice
	more   string
	// asked are the namespaces whose EndpointSlices were.
	asked []string
}

func (c *clusterOf) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list := list.(type) {
	case *obsv1.ObservabilityStackList:
		list.Items = c.stacks
	case *discoveryv1.EndpointSliceList:
		options := (&client.ListOptions{}).ApplyOptions(opts)
		c.asked = append(c.asked, options.Namespace)
		list.Continue = c.more
		for _, slice := range c.slices {
			if options.LabelSelector.Matches(labels.Set(slice.Labels)) {
				list.Items = append(list.Items, slice)
			}
		}
	}
	return nil
}

func slice(service string, ready ...*bool) discoveryv1.EndpointSlice {
	s := discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Labels: map[string]string{discoveryv1.LabelServiceName: service},
	}}
	for _, r := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: r}})
	}
	return s
}

func stackNamed(name string) obsv1.ObservabilityStack {
	return obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: name},
		Spec: obsv1.ObservabilityStackSpec{Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{
			Name: "api", Port: "http", Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}},
		}}}},
	}
}

// newAddresses whose clock is moved by hand.
func newAddresses(c *clusterOf, now *time.Time) *Addresses {
	return &Addresses{
		Reader: c, Cluster: Cluster{Live: c, Requests: NewRequests()},
		Changed: make(chan event.GenericEvent, 10), Interval: time.Minute,
		Now:   func() time.Time { return *now },
		Asked: func(_ context.Context, s *obsv1.ObservabilityStack) (bool, error) { return s.Spec.Platform != "", nil },
		Services: func(context.Context, string) ([]judge.Service, error) {
			return []judge.Service{{Name: "api", Labels: map[string]string{"app": "api"}, Ports: []string{"http"}}}, nil
		},
	}
}

func TestAddressesMustBeMissingTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		slices  []discoveryv1.EndpointSlice
		more    string
		unready bool
	}{
		"none":                     {unready: true},
		"one that is ready":        {slices: []discoveryv1.EndpointSlice{slice("api", new(false), new(true))}},
		"one that does not say it": {slices: []discoveryv1.EndpointSlice{slice("api", nil)}},
		"none that is ready":       {slices: []discoveryv1.EndpointSlice{slice("api", new(false))}, unready: true},
		"another's":                {slices: []discoveryv1.EndpointSlice{slice("web", new(true))}, unready: true},
		"more than one response":   {more: "next"},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(0, 0)
			c := &clusterOf{stacks: []obsv1.ObservabilityStack{stackNamed("shop")}, slices: tc.slices, more: tc.more}
			a := newAddresses(c, &now)
			for round, want := range []bool{false, tc.unready, tc.unready} {
				if err := a.next(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := a.Unready(&c.stacks[0])["api"]; got != want {
					t.Errorf("round %d: unready is %t, want %t", round, got, want)
				}
				now = now.Add(time.Minute)
			}
			if got, want := len(a.Changed), map[bool]int{true: 1}[tc.unready]; got != want {
				t.Errorf("%d events, want %d", got, want)
			}
			c.slices, c.more = []discoveryv1.EndpointSlice{slice("api", new(true))}, ""
			if err := a.next(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a.Unready(&c.stacks[0])["api"] {
				t.Error("the cure does not show")
			}
		})
	}
}

func TestAddressesAskLittle(t *testing.T) {
	now := time.Unix(0, 0)
	c := &clusterOf{stacks: []obsv1.ObservabilityStack{stackNamed("a"), stackNamed("b"), stackNamed("c"), stackNamed("d")}}
	c.stacks[1].Spec.Platform = "default" // It has a Prometheus.
	c.stacks[2].Spec.Metrics = nil
	a := newAddresses(c, &now)
	for range 12 { // two minutes
		if err := a.next(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Second)
	}
	counts := map[string]int{}
	for _, namespace := range c.asked {
		counts[namespace]++
	}
	if counts["a"] != 2 || counts["d"] != 2 || len(counts) != 2 {
		t.Errorf("asked %v, want a and d once a minute", counts)
	}
}

// TestAddressesOfManyStacksComeSoon: the cure of one of a hundred shows within minutes, though all
// are asked about one after the other, and none is left out.
func TestAddressesOfManyStacksComeSoon(t *testing.T) {
	now := time.Unix(0, 0)
	c := &clusterOf{slices: []discoveryv1.EndpointSlice{slice("api", new(true))}}
	for i := range 100 {
		c.stacks = append(c.stacks, stackNamed(fmt.Sprint("stack-", i)))
	}
	a := newAddresses(c, &now)
	a.Cluster.Requests = rate.NewLimiter(rate.Inf, 1)
	broken := "stack-0"
	a.Services = func(_ context.Context, namespace string) ([]judge.Service, error) {
		name := "api"
		if namespace == broken {
			name = "web"
		}
		return []judge.Service{{Name: name, Labels: map[string]string{"app": "api"}, Ports: []string{"http"}}}, nil
	}
	next := func(rounds int) {
		for range rounds {
			if err := a.next(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(15 * time.Second)
		}
	}
	next(8)
	if !a.Unready(&c.stacks[0])["api"] {
		t.Error("that nothing is ready does not show within two minutes")
	}
	broken = ""
	next(8)
	if a.Unready(&c.stacks[0])["api"] {
		t.Error("the cure does not show within two minutes")
	}
	broken = "stack-0"
	next(200)
	asked := map[string]bool{}
	for _, namespace := range c.asked {
		asked[namespace] = true
	}
	if len(asked) != 100 {
		t.Errorf("asked about %d of 100 stacks within an hour", len(asked))
	}
}

func TestAddressesOutliveARestart(t *testing.T) {
	now := time.Unix(0, 0)
	stack := stackNamed("shop")
	stack.Status.Parts = []obsv1.PartStatus{{Kind: obsv1.PartMonitor, Name: "api", Reason: obsv1.ReasonNoReadyAddress}}
	c := &clusterOf{stacks: []obsv1.ObservabilityStack{stack}}
	a := newAddresses(c, &now)
	for range 2 { // before the first round and after it
		if !a.Unready(&stack)["api"] {
			t.Error("a restart forgets what the status says")
		}
		if err := a.next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.Changed) > 0 {
		t.Error("a restart asks for a pass")
	}
	c.stacks[0].Spec.Platform = "default"
	now = now.Add(time.Minute)
	if err := a.next(t.Context()); err != nil || a.Unready(&stack)["api"] || len(a.Changed) != 1 {
		t.Errorf("error = %v, unready is %v, %d events; want none where a Prometheus is asked", err, a.Unready(&stack),
			len(a.Changed))
	}
}
