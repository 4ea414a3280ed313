// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// TestInitOfARunningApplication is the first minute of a new user: the application runs, and knows
// nothing of obstack. What the plugin writes is applied as it is.
func TestInitOfARunningApplication(t *testing.T) {
	const namespace = "first"
	c := start(t)
	t.Cleanup(func() {
		// The stack goes before its namespace, in which nothing could be made any more.
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
		err := errors.Join(client.IgnoreNotFound(c.Delete(context.Background(), stack)),
			c.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
		if err != nil {
			t.Error(err)
		}
	})
	workloads, err := c.applyUnknown(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stack.yaml")
	command := c.plugin(t, "init", "shop", "--namespace", namespace, "--from-cluster", "--output", file)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("kubectl obstack init: %v\n%s", err, output)
	}
	text, err := os.ReadFile(file) // #nosec G304 -- of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("it writes:\n%s", text)
	if err := c.apply(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	for _, workload := range workloads {
		testenv.Change(t, c.Client, workload, func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{obsv1.AnnotationStack: "shop"})
		})
	}
	key := client.ObjectKey{Namespace: namespace, Name: "shop"}
	for _, condition := range []string{obsv1.Ready, obsv1.Verified} {
		// It is scraped every 30 seconds, and two scrapes have to be seen.
		err := await(t.Context(), "the stack that was written to be "+condition, 4*time.Minute,
			func(ctx context.Context) string {
				_ = c.ask(ctx, service{namespace, "api", "http"}, http.MethodPost, "/orders/1", nil, nil) // it is asked again
				stack := &obsv1.ObservabilityStack{}
				if err := c.Get(ctx, key, stack); err != nil {
					return err.Error()
				}
				return lacksCondition(stack, metav1.Condition{Type: condition, Status: metav1.ConditionTrue})
			})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// applyUnknown applies the application in another namespace, without an annotation. The workloads
// are those that run it.
func (c *cluster) applyUnknown(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	secret := c.secret()
	secret.Namespace = namespace
	if err := errors.Join(c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}),
		c.Create(ctx, secret)); err != nil {
		return nil, err
	}
	objects, err := testenv.Objects("testdata/shop.yaml")
	if err != nil {
		return nil, err
	}
	var workloads []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetAnnotations() != nil {
			workloads = append(workloads, object)
		}
		object.SetNamespace(namespace)
		object.SetAnnotations(nil)
		if err := c.Create(ctx, object); err != nil {
			return nil, fmt.Errorf("create %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return workloads, nil
}
