// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cluster asks the API server itself, a page at a time, and not too often.
type Cluster struct {
	Live     client.Reader
	Requests *rate.Limiter
	// Namespaces are those that may be asked; all if there are none.
	Namespaces []string
}

// namespaces returns what to list, one at a time.
func (c Cluster) namespaces() []string {
	if len(c.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return c.Namespaces
}

// pods calls visit with those that have some labels, or with all.
func (c Cluster) pods(ctx context.Context, labels client.MatchingLabels, visit func(*corev1.Pod)) error {
	page := &corev1.PodList{}
	return c.list(ctx, page, labels, podsPage, func() {
		for i := range page.Items {
			visit(&page.Items[i])
		}
		page.Items = nil
	})
}

// list calls visit with each page.
func (c Cluster) list(
	ctx context.Context, page client.ObjectList, labels client.MatchingLabels, size client.Limit, visit func(),
) error {
	for _, namespace := range c.namespaces() {
		for more := true; more; more = page.GetContinue() != "" {
			if err := c.Requests.Wait(ctx); err != nil {
				return err
			}
			err := c.Live.List(ctx, page, client.InNamespace(namespace), labels, size,
				client.Continue(page.GetContinue()))
			if err != nil {
				return fmt.Errorf("list %T: %w", page, err)
			}
			visit()
		}
	}
	return nil
}

// runs reports whether a Pod runs and is there to stay.
func runs(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
}
