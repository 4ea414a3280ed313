// SPDX-License-Identifier: Apache-2.0

// Package planetest starts control planes for tests, and waits for what comes to be there.
package planetest

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/controlplane"
)

// Start starts a control plane that is stopped when the test ends, and returns a
// client that knows its kinds, ours and those of prometheus-operator.
func Start(t testing.TB, options controlplane.Options) (*controlplane.ControlPlane, client.WithWatch) {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // Otherwise controller-runtime complains that nobody did.
	plane, err := controlplane.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, monitoringv1.AddToScheme, obsv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	api, err := client.NewWithWatch(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return plane, api
}

// Poll asks until nothing is lacking any more. What still lacks when the time is
// over, it tells.
func Poll(t testing.TB, limit time.Duration, condition func(context.Context) (lacks string)) {
	t.Helper()
	var lacks string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		what := condition(ctx)
		// What fails only because the time is over would hide what was lacking.
		if ctx.Err() == nil {
			lacks = what
		}
		return what == "", nil
	})
	if err != nil {
		t.Fatalf("after %s: %s", limit, lacks)
	}
}
