// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// Python are the workloads that have the stack's bundle for Python and Pods that are available.
func (r *Reader) Python(ctx context.Context, stack *obsv1.ObservabilityStack) ([]*corev1.ObjectReference, error) {
	key := client.ObjectKeyFromObject(stack)
	workloads, err := r.Concerning(ctx, key)
	if err != nil {
		return nil, err
	}
	var found []*corev1.ObjectReference
	for _, w := range workloads {
		claim, namespace, err := r.Claim(ctx, w)
		if err != nil {
			return nil, err
		}
		stamp, _ := w.Stamp()
		// A stamp can be written by anybody.
		if stamp.Stack == key && hasBundle(w) && claim.Stack == key && claim.WantsPython(stack) &&
			policy.Admits(stack, w.Namespace, namespace.Labels) {
			found = append(found, w.Reference())
		}
	}
	return found, nil
}

func hasBundle(w *policy.Workload) bool {
	return w.PodTemplate().Metadata.Labels[obsv1.StampPython] != "" &&
		w.Status.AvailableReplicas+w.Status.NumberAvailable > 0
}
