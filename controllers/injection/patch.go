// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// probe finds out whether new Pods of a workload would be injected: by the API server itself, or
// by the webhook, which shows in a dry run on the workload.
func (i *Injector) probe(ctx context.Context, w *policy.Workload) (bool, error) {
	namespace, err := i.Reader.namespace(ctx, w.Namespace)
	if err != nil {
		return false, err
	}
	if byPolicy, err := i.Engine.ByPolicy(ctx, namespace.Labels); byPolicy || err != nil {
		return byPolicy, err
	}
	response, err := i.patch(ctx, w, obsv1.Probe, "asked", client.DryRunAll)
	return err == nil && response.Annotations[obsv1.Probe] == obsv1.ProbeReached, err
}

// stamp writes a stamp, or removes it, and the workload's record in the same request.
func (i *Injector) stamp(ctx context.Context, stack types.NamespacedName, patch policy.Patch) error {
	body, err := patch.MergePatch()
	if err != nil {
		return err
	}
	response, err := i.send(ctx, patch.Workload, body)
	if err != nil {
		return err
	}
	i.store(stack, patch.Candidate, patch.Stamp == nil, func(h policy.History) policy.History {
		return h.Wrote(patch, response.Generation)
	})
	if patch.Breaks != nil {
		i.record(patch.Workload, obsv1.ReasonPythonWithdrawn, withdrawn(patch))
	}
	return nil
}

// withdrawn says why the bundle for Python is taken off, and what its owner has to do.
func withdrawn(patch policy.Patch) string {
	message := fmt.Sprintf("with the bundle for Python, %s: it is taken off, and tried again when the bundle, an image "+
		"or an annotation about it changes", patch.Breaks)
	if patch.Kind == policy.KindStatefulSet {
		message += "; Kubernetes keeps Pods of a StatefulSet that do not get ready: delete them"
	}
	return message
}

// askWho finds the field manager that changed the workload last. Of one that wants no stamp, ever,
// it is kept in the workload's record. What fails here changes nothing else.
func (i *Injector) askWho(ctx context.Context, c *policy.Candidate, record policy.Record) policy.Record {
	record.By, record.Generation = "another client", c.Generation
	response, err := i.patch(ctx, c.Workload, obsv1.AnnotationRecord, record.Annotation(), client.DryRunAll)
	if err == nil {
		record.Generation = response.Generation
		if manager := lastManager(response.ManagedFields); manager != "" {
			record.By = manager
		}
	}
	if err == nil && record.ContestedSoon(i.Now()) {
		_, err = i.patch(ctx, c.Workload, obsv1.AnnotationRecord, record.Annotation())
	}
	if err != nil && !gone(err) {
		ctrl.LoggerFrom(ctx).Error(err, "Could not record who changes a stamp", "workload", c.String())
	}
	return record
}

// lastManager is who else changed an object's spec last.
func lastManager(entries []metav1.ManagedFieldsEntry) string {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool {
		var fields map[string]json.RawMessage
		return e.Manager == obsv1.FieldManager || e.Subresource != "" || e.Time == nil || e.FieldsV1 == nil ||
			json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil || fields["f:spec"] == nil
	})
	if len(entries) == 0 {
		return ""
	}
	return slices.MaxFunc(entries, func(a, b metav1.ManagedFieldsEntry) int { return a.Time.Compare(b.Time.Time) }).Manager
}

// patch an annotation, nil to remove it.
func (i *Injector) patch(ctx context.Context, w *policy.Workload, annotation string, value any,
	opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
	body, err := w.MergePatch(map[string]any{annotation: value}, nil)
	if err != nil {
		return nil, err
	}
	return i.send(ctx, w, body, opts...)
}

// send a merge patch. It never creates.
func (i *Injector) send(ctx context.Context, w *policy.Workload, body []byte,
	opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
	response := &metav1.PartialObjectMetadata{TypeMeta: w.TypeMeta}
	response.Namespace, response.Name = w.Namespace, w.Name
	opts = append(opts, client.FieldOwner(obsv1.FieldManager))
	return response, i.Client.Patch(ctx, response, client.RawPatch(types.MergePatchType, body), opts...)
}
