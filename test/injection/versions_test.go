// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// versionLabels finds the version by label on what Kubernetes makes of a template: before obstack
// deletes a version, it asks for these.
func (c *cluster) versionLabels(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	for obj := range workloads(namespace, "shop") {
		testenv.Create(t, c.api, obj)
	}
	c.awaitWorkloads(t, stack, "4/4", 0)
	label := client.MatchingLabels{obsv1.StampVersion: stack.Status.ConfigHash}
	for kind, list := range map[string]client.ObjectList{
		"ReplicaSet": &appsv1.ReplicaSetList{}, "ControllerRevision": &appsv1.ControllerRevisionList{},
	} {
		testenv.Poll(t, func(ctx context.Context) string {
			if err := c.api.List(ctx, list, client.InNamespace(namespace), label); err != nil {
				return err.Error()
			}
			var n int
			switch list := list.(type) {
			case *appsv1.ReplicaSetList:
				n = len(list.Items)
			case *appsv1.ControllerRevisionList:
				n = len(list.Items)
			}
			if n == 0 {
				return fmt.Sprintf("no %s has the label of the version", kind)
			}
			return ""
		})
	}
}
