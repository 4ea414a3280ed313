// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// definitions removes and installs prometheus-operator's definitions under a
// running operator.
func (p *plane) definitions(t *testing.T) {
	namespace := p.namespace(t)
	p.removeDefinitions(t)
	stack := newStack(namespace, "shop")
	testenv.Create(t, p.api, stack)
	op := p.run(t, "operator")
	parts := []string{obsv1.MetricsReady, obsv1.AlertsReady}
	for range 2 {
		p.waitFor(t, stack, parts, metav1.ConditionFalse, obsv1.ReasonMissingAPI)
		p.installDefinitions(t)
		p.waitFor(t, stack, parts, metav1.ConditionTrue, obsv1.ReasonAvailable)
		p.converged(t, op, namespace)
		p.wantChildren(t, namespace)
		p.removeDefinitions(t)
	}
	p.waitFor(t, stack, parts, metav1.ConditionFalse, obsv1.ReasonMissingAPI)
	p.installDefinitions(t)
	p.waitFor(t, stack, parts, metav1.ConditionTrue, obsv1.ReasonAvailable)
	if err := op.Stop(); err != nil { // which fails if it has ended before
		t.Fatal(err)
	}
	p.neverMissing(t, stack)
}

// neverMissing restarts the operator and looks at each status that it writes.
func (p *plane) neverMissing(t *testing.T, stack *obsv1.ObservabilityStack) {
	watching, err := client.NewWithWatch(p.Config, client.Options{Scheme: p.api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := watching.Watch(t.Context(), &obsv1.ObservabilityStackList{}, client.InNamespace(stack.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	op := p.run(t, "operator")
	ready(t, op)
	if err := p.change(t.Context(), stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors = append(spec.Metrics.Monitors, monitor("worker"))
	}); err != nil {
		t.Fatal(err)
	}
	for event := range watch.ResultChan() {
		seen, ok := event.Object.(*obsv1.ObservabilityStack)
		if !ok {
			t.Fatalf("watch: %v", event)
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Reason == obsv1.ReasonMissingAPI {
				t.Fatalf("after a restart, %s is %s for a moment, although the definitions are installed", condition.Type,
					condition.Reason)
			}
		}
		if seen.Status.ObservedGeneration == stack.Generation {
			return
		}
	}
	t.Fatal("the watch ended before the operator had seen the change")
}

// waitFor waits until conditions have a status and a reason.
func (p *plane) waitFor(t *testing.T, stack *obsv1.ObservabilityStack, types []string, status metav1.ConditionStatus,
	reason string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if err := p.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		for _, conditionType := range types {
			got := meta.FindStatusCondition(stack.Status.Conditions, conditionType)
			if got == nil || got.Status != status || got.Reason != reason {
				return fmt.Sprintf("%s is %+v, want %s %s", conditionType, got, status, reason)
			}
		}
		return ""
	})
}

var definitionNames = []string{"servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"}

func (p *plane) removeDefinitions(t *testing.T) {
	t.Helper()
	for _, name := range definitionNames {
		definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := p.api.Delete(t.Context(), definition); err != nil {
			t.Fatal(err)
		}
		testenv.Poll(t, func(ctx context.Context) string {
			if err := p.api.Get(ctx, client.ObjectKey{Name: name}, definition); !apierrors.IsNotFound(err) {
				return fmt.Sprintf("%s is still there: %v", name, err)
			}
			return ""
		})
	}
}

func (p *plane) installDefinitions(t *testing.T) {
	t.Helper()
	dir, err := testenv.PrometheusOperatorCRDs(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = envtest.InstallCRDs(p.Config, envtest.CRDInstallOptions{MaxTime: time.Minute, Paths: []string{
		filepath.Join(dir, "monitoring.coreos.com_servicemonitors.yaml"),
		filepath.Join(dir, "monitoring.coreos.com_prometheusrules.yaml"),
	}})
	if err != nil {
		t.Fatal(err)
	}
}
