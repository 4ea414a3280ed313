// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// TestUninstallRestartsNothing deletes the stack and uninstalls the chart: what obstack made is
// gone, and the application's Pods are those of before. It is the last test, and removes what else
// was installed.
func TestUninstallRestartsNothing(t *testing.T) {
	c := start(t)
	if os.Getenv("E2E_KEEP") != "" {
		t.Skip("E2E_KEEP is set")
	}
	defer c.remove(t)
	c.ready(t)
	before := c.shopPods(t)
	testenv.Delete(t, c.Client, &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}})
	eventually(t, "the stack and what it owns to go", func(ctx context.Context) string {
		if _, err := c.stack(ctx); !apierrors.IsNotFound(err) {
			return "the stack is there: " + text(err)
		}
		for _, list := range []client.ObjectList{
			&monitoringv1.ServiceMonitorList{}, &monitoringv1.PrometheusRuleList{}, &corev1.ConfigMapList{},
			&appsv1.DeploymentList{},
		} {
			err := c.List(ctx, list, client.InNamespace("shop"), client.MatchingLabels{obsv1.LabelStack: "shop"})
			if err != nil {
				return err.Error()
			}
			if has(list) {
				return fmt.Sprintf("there is still something in %T", list)
			}
		}
		return ""
	})
	if err := c.helm(t.Context(), "uninstall", "--wait"); err != nil {
		t.Error(err)
	}
	if after := c.shopPods(t); !maps.Equal(before, after) {
		t.Errorf("the application's Pods were %v, and are %v", before, after)
	}
}

// has reports whether a list has an object.
func has(list client.ObjectList) bool {
	found := false
	_ = meta.EachListItem(list, func(runtime.Object) error { // the function returns none
		found = true
		return nil
	})
	return found
}

// shopPods are the names of the application's Pods by their UIDs.
func (c *cluster) shopPods(t *testing.T) map[types.UID]string {
	t.Helper()
	found := map[types.UID]string{}
	for _, app := range []string{"shop-api", "shop-worker"} {
		pods := &corev1.PodList{}
		if err := c.List(t.Context(), pods, client.InNamespace("shop"), client.MatchingLabels{"app": app}); err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods.Items {
			found[pod.UID] = pod.Name
		}
	}
	return found
}

// remove removes what else was installed. In a cluster that goes as a whole that is not waited for.
func (c *cluster) remove(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	files, err := definitions(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, name := range backends {
		files = append(files, "testdata/"+name)
	}
	for _, file := range append(files, "../../config/crd") {
		objects, err := testenv.Objects(file)
		if err != nil {
			t.Error(err)
		}
		for _, object := range objects {
			if err := client.IgnoreNotFound(c.Delete(ctx, object)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{"shop", operatorNamespace} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := client.IgnoreNotFound(c.Delete(ctx, namespace)); err != nil {
			t.Error(err)
		}
	}
}
