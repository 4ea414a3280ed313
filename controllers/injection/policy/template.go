// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TemplateChange is a request to create or update a workload, as far as its
// template is concerned.
type TemplateChange struct {
	// Path of the template in the object, such as "/spec/template".
	Path string
	// Old is nil on creation.
	Old, New *corev1.PodTemplateSpec
	// Want is the stamp that the workload should have; nil if none.
	Want *Stamp
}

// TemplatePatch stamps the template in the same request where that costs no
// rollout of its own: on creation, and where the request changes the template
// anyway. Where it does not, the stamp that is there is kept, even if the request
// would drop it, as replacing an object does; the workload controller changes it
// in its own time.
func TemplatePatch(change TemplateChange) []webhook.JSONPatchOp {
	stamp := change.Want
	if change.Old != nil && sameTemplate(change.Old, change.New) {
		had, ok := StampOf(change.Old.Labels, change.Old.Annotations)
		_, has := StampOf(change.New.Labels, change.New.Annotations)
		if change.Want == nil || !ok || has && complete(change.New) {
			return nil
		}
		stamp = &had
	}
	var labels, annotations map[string]string
	if stamp != nil {
		labels, annotations = stamp.Labels(), stamp.Annotations()
	}
	meta := change.Path + "/metadata"
	return append(setKeys(meta+"/labels", change.New.Labels, labels, StampLabels),
		setKeys(meta+"/annotations", change.New.Annotations, annotations, StampAnnotations)...)
}

// complete reports whether all that every stamp has is there.
func complete(template *corev1.PodTemplateSpec) bool {
	return template.Labels[obsv1.StampStack] != "" && template.Labels[obsv1.StampNamespace] != "" &&
		template.Annotations[obsv1.StampConfigHash] != ""
}

// sameTemplate reports whether two templates differ in nothing but the stamp.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		equality.Semantic.DeepEqual(without(a.Labels, StampLabels), without(b.Labels, StampLabels)) &&
		equality.Semantic.DeepEqual(without(a.Annotations, StampAnnotations), without(b.Annotations, StampAnnotations))
}

func without(all map[string]string, keys []string) map[string]string {
	rest := maps.Clone(all)
	for _, key := range keys {
		delete(rest, key)
	}
	return rest
}
