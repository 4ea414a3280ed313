// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Grant is what a Pod gets.
type Grant struct {
	Stamp
	// Secret holds the settings; it is in the Pod's namespace, or will be.
	Secret string
	// SecretExists reports whether it is there, so that the Pod starts with it.
	SecretExists bool
	// ReleaseFromImage sets SENTRY_RELEASE of each container.
	ReleaseFromImage bool
}

// PodPatch adds a grant to a Pod: one envFrom entry for each chosen container, in
// front of the others and optional, so that what a container sets itself wins and
// a Secret that is missing keeps nothing from starting. Repeated on its own result
// it is empty.
func PodPatch(pod *corev1.Pod, grant Grant, claim Claim) []webhook.JSONPatchOp {
	var ops []webhook.JSONPatchOp
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		if !claim.chosen(container.Name) {
			continue
		}
		path := "/spec/containers/" + strconv.Itoa(i)
		if !readsFrom(container, grant.Secret) {
			ops = append(ops, addEnvFrom(path, container, grant.Secret))
		}
		if grant.ReleaseFromImage && !sets(container, obsv1.VariableRelease) {
			if release := releaseOf(container.Image); release != "" {
				ops = append(ops, addEnv(path, container, corev1.EnvVar{Name: obsv1.VariableRelease, Value: release}))
			}
		}
	}
	// The stamp's labels are how obstack finds the Pod, also where it has no stamped template.
	ops = append(ops, setKeys("/metadata/labels", pod.Labels, grant.Labels(), StampLabels)...)
	marks := map[string]string{obsv1.StampConfigHash: grant.ConfigHash}
	if grant.SecretExists {
		marks[obsv1.MarkInjected] = grant.ConfigHash
	}
	return append(ops,
		setKeys("/metadata/annotations", pod.Annotations, marks, []string{obsv1.StampConfigHash, obsv1.MarkInjected})...)
}

func readsFrom(container *corev1.Container, secret string) bool {
	return slices.ContainsFunc(container.EnvFrom, func(source corev1.EnvFromSource) bool {
		return source.SecretRef != nil && source.SecretRef.Name == secret
	})
}

func sets(container *corev1.Container, variable string) bool {
	return slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == variable })
}

func addEnvFrom(path string, container *corev1.Container, secret string) webhook.JSONPatchOp {
	source := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Optional: new(true),
	}}
	if len(container.EnvFrom) == 0 {
		return add(path+"/envFrom", []corev1.EnvFromSource{source})
	}
	return add(path+"/envFrom/0", source)
}

func addEnv(path string, container *corev1.Container, env corev1.EnvVar) webhook.JSONPatchOp {
	if len(container.Env) == 0 {
		return add(path+"/env", []corev1.EnvVar{env})
	}
	return add(path+"/env/-", env)
}

// ProbePatch gives the probe on a workload its response, if it is there.
func ProbePatch(annotations map[string]string) []webhook.JSONPatchOp {
	if _, asked := annotations[obsv1.Probe]; !asked {
		return nil
	}
	return []webhook.JSONPatchOp{add("/metadata/annotations/"+escape(obsv1.Probe), obsv1.ProbeReached)}
}

// setKeys makes the given keys of a map of labels or annotations have the wanted
// values, and removes those of them that are not wanted.
func setKeys(path string, have, want map[string]string, keys []string) []webhook.JSONPatchOp {
	if len(have) == 0 {
		if len(want) == 0 {
			return nil
		}
		return []webhook.JSONPatchOp{add(path, want)}
	}
	var ops []webhook.JSONPatchOp
	for _, key := range keys {
		before, had := have[key]
		after, wanted := want[key]
		at := path + "/" + escape(key)
		switch {
		case wanted && (!had || before != after):
			ops = append(ops, add(at, after))
		case had && !wanted:
			ops = append(ops, webhook.JSONPatchOp{Operation: "remove", Path: at})
		}
	}
	return ops
}

// add puts a value at a JSON pointer (RFC 6902).
func add(path string, value any) webhook.JSONPatchOp {
	return webhook.JSONPatchOp{Operation: "add", Path: path, Value: value}
}

// pointerEscapes is made once, because building its tables takes longer than all the rest of a
// small Pod's patch.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// escape makes a key part of a JSON pointer (RFC 6901).
func escape(key string) string { return pointerEscapes.Replace(key) }

// releaseOf is the tag of an image, or the digest of one without a tag; empty if
// the image has neither. Sentry accepts both as a release.
func releaseOf(image string) string {
	name, digest, _ := strings.Cut(image, "@")
	// A colon before the last slash belongs to the registry's port.
	if _, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); tagged {
		return tag
	}
	return digest
}
