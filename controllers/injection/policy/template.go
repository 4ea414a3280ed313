// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TemplateChange is a request to create or update a workload, as far as its
// template is concerned.
type TemplateChange struct {
	// Path of the template in the object, such as "/spec/template".
	Path string
	// Selector is the workload's own; nil if it has none.
	Selector *metav1.LabelSelector
	// Old is nil on creation.
	Old, New *corev1.PodTemplateSpec
	// Want is the stamp that the workload should have; nil if none.
	Want *Stamp
	// Claimed reports whether the workload asks for settings: who drops the stamp then does not
	// mean to.
	Claimed bool
	// Hold is set while nobody can say what the workload should have: what is there stays.
	Hold bool
}

// Decide which stamp the workload should have. The labels are those of its Namespace; the stack is
// nil if there is none.
func (c *TemplateChange) Decide(w *Workload, claim Claim, labels map[string]string,
	stack *obsv1.ObservabilityStack) Decision {
	decision := Decide(claim, w.Namespace, labels, stack).Check(claim, w.PodTemplate().ContainerNames())
	c.Claimed = claim.Made()
	if version := claim.version(stack); decision.Granted && version != "" {
		// A name that is to be generated is not known yet.
		c.Want = new(StampFor(claim, stack, w.Name, version).withBundle(claim.bundle(stack)))
	} else {
		// A new stack has no settings yet, and an owner corrects what is mistyped: neither costs a
		// stamp.
		c.Hold = decision.Granted || decision.Hold || claim.Problem != "" ||
			decision.Reason == obsv1.ReasonUnknownSentryProject
	}
	if decision.Granted {
		decision.Message = cmp.Or(decision.Message, c.unchangeable())
	}
	if decision.Message == "" && c.keepsVersion() {
		decision.Message = "nothing changes but the version of the settings, which the ObservabilityStack decides; " +
			"for kubectl rollout undo, name an older revision with --to-revision"
	}
	return decision
}

// unchangeable says why the API server would refuse the template with the stamp, and with it the
// owner's request; it is empty if it would not. config/injection/policies.yaml knows the same.
func (c *TemplateChange) unchangeable() string {
	_, annotations := c.stamp()
	switch {
	case size(without(c.New.Annotations, StampAnnotations))+size(annotations) > maxAnnotations:
		return "the annotations of the Pod template leave no room for those of obstack: write fewer"
	case selectsStamp(c.Selector):
		return "the selector of the workload names labels inject.obstack.dev/*, which obstack changes: make the workload " +
			"anew without them"
	default:
		return ""
	}
}

// selectsStamp reports whether a selector is about labels of a stamp.
func selectsStamp(selector *metav1.LabelSelector) bool {
	if selector == nil {
		return false
	}
	keys := slices.Collect(maps.Keys(selector.MatchLabels))
	for _, requirement := range selector.MatchExpressions {
		keys = append(keys, requirement.Key)
	}
	return slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "inject.obstack.dev/") })
}

// keepsVersion reports whether the request brings nothing but another version of the settings,
// and in vain: so does `kubectl rollout undo` after a rollout of settings.
func (c *TemplateChange) keepsVersion() bool {
	if !c.keepsStamp() || !sameTemplate(c.Old, c.New) {
		return false
	}
	had, _ := StampOf(c.Old.Labels, c.Old.Annotations)
	brings, _ := StampOf(c.New.Labels, c.New.Annotations)
	return brings.Complete() && brings.ConfigHash != had.ConfigHash
}

// TemplatePatch stamps the template in the same request where that costs no rollout of its own:
// on creation, and where the request changes the template anyway, which also takes off a stamp
// that is wanted no more. Where nothing else of the template changes, neither does the stamp,
// unless the request brings the wanted one: an owner that writes whole templates, or those of
// yesterday, restarts nothing by it. The operator changes stamps in its own time.
func TemplatePatch(change TemplateChange) []webhook.JSONPatchOp {
	if change.Hold && change.Old == nil || change.unchangeable() != "" {
		return nil
	}
	labels, annotations := change.stamp()
	meta := change.Path + "/metadata"
	return append(setKeys(meta+"/labels", change.New.Labels, labels, StampLabels),
		setKeys(meta+"/annotations", change.New.Annotations, annotations, StampAnnotations)...)
}

// stamp is what the template is to have of one.
func (c *TemplateChange) stamp() (labels, annotations map[string]string) {
	switch {
	case c.keepsStamp():
		return stampOnly(c.Old.Labels, StampLabels), stampOnly(c.Old.Annotations, StampAnnotations)
	case c.Want != nil:
		return c.Want.Labels(), c.Want.Annotations()
	default:
		return nil, nil
	}
}

// keepsStamp reports whether the template keeps the stamp that it had, whatever the request says.
func (c *TemplateChange) keepsStamp() bool {
	if c.Old == nil {
		return false
	}
	if c.Hold {
		return true
	}
	had, stamped := StampOf(c.Old.Labels, c.Old.Annotations)
	if c.Want != nil && had.grants(*c.Want) {
		return true // With its attempt, without which the Pods would be replaced once more.
	}
	if !sameTemplate(c.Old, c.New) {
		return false
	}
	brings, some := StampOf(c.New.Labels, c.New.Annotations)
	if c.Want == nil {
		return some || !stamped || c.Claimed
	}
	return brings != *c.Want
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
