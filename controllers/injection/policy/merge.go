// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// MergePatch writes the stamp, or removes it, and the workload's record in the same request.
func (p *Patch) MergePatch() ([]byte, error) {
	var labels, annotations map[string]string
	if p.Stamp != nil {
		labels, annotations = p.Stamp.Labels(), p.Stamp.Annotations()
	}
	var record any
	// Who is released keeps nothing of obstack, unless somebody puts the stamp back.
	if p.Stamp != nil || p.Record.Stamps > 1 {
		record = p.Record.Annotation()
	}
	own := map[string]any{obsv1.AnnotationRecord: record}
	python := p.Stamp != nil && p.Stamp.Python != ""
	_, withdrawn := p.Annotations[obsv1.AnnotationPythonWithdrawn]
	_, works := p.Annotations[obsv1.AnnotationPythonWorks]
	switch {
	case p.Breaks != nil:
		own[obsv1.AnnotationPythonWithdrawn] = p.Breaks.Annotation()
	case withdrawn && (p.Stamp == nil || python):
		own[obsv1.AnnotationPythonWithdrawn] = nil
	}
	if works && !python {
		own[obsv1.AnnotationPythonWorks] = nil
	}
	metadata := map[string]any{"uid": p.UID, "annotations": own}
	if p.Breaks != nil { // What broke is what was read, and nothing newer.
		metadata["resourceVersion"] = p.ResourceVersion
	}
	return mergePatch(metadata, specOf(p.Workload, labels, annotations))
}

// MergePatch is one of annotations, nil to remove one, and of the spec, nil to leave it. It is for
// this very workload: the API server refuses one with another UID.
func (w *Workload) MergePatch(annotations, spec map[string]any) ([]byte, error) {
	return mergePatch(map[string]any{"uid": w.UID, "annotations": annotations}, spec)
}

func mergePatch(metadata, spec map[string]any) ([]byte, error) {
	content := map[string]any{"metadata": metadata}
	if spec != nil {
		content["spec"] = spec
	}
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return body, nil
}

// specOf is a workload's spec with the stamp alone: exactly the given labels and annotations.
// Keys that are not wanted are removed by name, because those that the webhook added belong to
// no field manager and would survive an apply without them.
func specOf(w *Workload, labels, annotations map[string]string) map[string]any {
	spec := map[string]any{"template": map[string]any{"metadata": map[string]any{
		"labels":      exactly(labels, StampLabels),
		"annotations": exactly(annotations, StampAnnotations),
	}}}
	if w.Kind == KindCronJob {
		return map[string]any{"jobTemplate": map[string]any{"spec": spec}}
	}
	return spec
}

func exactly(want map[string]string, keys []string) map[string]any {
	patch := map[string]any{}
	for _, key := range keys {
		patch[key] = nil
		if value, ok := want[key]; ok {
			patch[key] = value
		}
	}
	return patch
}
