// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// Timeout is how long a test waits for what is no claim about time. On an idle machine it comes
	// within seconds; a shared one may give a test a tenth of a processor.
	Timeout = 3 * time.Minute
	// pollInterval is the time between two looks.
	pollInterval = 50 * time.Millisecond
)

// Start starts a control plane that is stopped when the test ends, and returns a client that knows
// its kinds, ours and those of prometheus-operator.
func Start(t testing.TB, options Options) (*ControlPlane, client.WithWatch) {
	t.Helper()
	plane, err := StartControlPlane(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	api, err := client.NewWithWatch(plane.Config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return plane, api
}

// Poll asks until nothing is lacking any more, at most for Timeout. Then the test fails with what
// still lacks.
func Poll(t testing.TB, condition func(context.Context) (lacks string)) {
	t.Helper()
	PollFor(t, Timeout, condition)
}

// PollFor is Poll with a timeout of its own.
func PollFor(t testing.TB, timeout time.Duration, condition func(context.Context) (lacks string)) {
	t.Helper()
	var lacks string
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, timeout, true,
		func(ctx context.Context) (bool, error) {
			what := condition(ctx)
			// What fails only because the time is over would hide what was lacking.
			if ctx.Err() == nil {
				lacks = what
			}
			return what == "", nil
		})
	if err != nil {
		t.Fatalf("after %s: %s", timeout, lacks)
	}
}

// Create creates an object.
func Create(t testing.TB, api client.Client, object client.Object) {
	t.Helper()
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatalf("create %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// Read reads an object as it is now.
func Read(t testing.TB, api client.Client, object client.Object) {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatalf("read %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// Change reads an object, edits it, and sends what differs.
func Change[T client.Object](t testing.TB, api client.Client, object T, edit func(T)) {
	t.Helper()
	Read(t, api, object)
	before := object.DeepCopyObject().(client.Object)
	edit(object)
	if err := api.Patch(t.Context(), object, client.MergeFrom(before)); err != nil {
		t.Fatalf("change %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// Delete deletes an object.
func Delete(t testing.TB, api client.Client, object client.Object) {
	t.Helper()
	if err := api.Delete(t.Context(), object); err != nil {
		t.Fatalf("delete %T %s: %v", object, client.ObjectKeyFromObject(object), err)
	}
}

// FreeAddress is a loopback address on which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := FindAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// Service is one with these labels and named ports.
func Service(namespace, name string, labels map[string]string, ports ...string) *corev1.Service {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	for i, port := range ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: port, Port: int32(8000 + i)})
	}
	return service
}
