// SPDX-License-Identifier: Apache-2.0

// Package planetest starts control planes for tests, and waits for what comes to be there.
package planetest

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/controlplane"
	"obstack.dev/obstack/test/freeport"
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
	api, err := client.NewWithWatch(plane.Config, client.Options{Scheme: controlplane.Scheme()})
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

// FreeAddress is a loopback address on which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
