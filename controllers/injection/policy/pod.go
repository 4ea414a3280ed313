// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// DecidePod decides about the claim of a Pod, and which stamp it is to have. The labels are those
// of its Namespace. A whole stamp says all: what was granted once holds, whatever became of the
// stack, nil if it is gone, unless that says now that it does not admit the namespace.
func DecidePod(pod *corev1.Pod, claim Claim, namespace string, labels map[string]string,
	stack *obsv1.ObservabilityStack) (Decision, Stamp) {
	decision := Decide(claim, namespace, labels, stack)
	stamp, _ := StampOf(pod.Labels, pod.Annotations)
	version := claim.version(stack)
	switch {
	case !claim.Made():
	case stamp.Complete():
		if decision.Reason != obsv1.ReasonNamespaceNotAdmitted {
			decision = Decision{Granted: true}
		}
	case decision.Granted && version == "":
		decision = Decision{Reason: obsv1.ReasonWaitingForSettings, Message: fmt.Sprintf(
			"ObservabilityStack %s has no settings yet: see its status", claim.Stack)}
	case decision.Granted:
		stamp.Stack, stamp.ConfigHash = claim.Stack, version
		stamp.Python = claim.bundle(stack)
		stamp.MetricsPort = stack.Spec.Python.MetricsPort()
	}
	if !claim.Python {
		stamp.Python = ""
	}
	names := make([]string, 0, len(pod.Spec.Containers))
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	decision = decision.Check(claim, names)
	if decision.Granted && size(pod.Annotations) > maxAnnotations-podRoom {
		decision = Decision{Reason: obsv1.ReasonInvalidAnnotation, Message: fmt.Sprintf(
			"the annotations of the Pod leave no room for those of obstack: write less than %d bytes", maxAnnotations-podRoom)}
	}
	return decision, stamp
}

// PodPatch adds to a Pod what its stamp says: one envFrom entry for each chosen container, in
// front of the others and optional, so that what a container sets itself wins and a Secret that
// is missing keeps nothing from starting. Repeated on its own result it is empty.
// config/injection/policies.yaml does the same.
func PodPatch(pod *corev1.Pod, stamp Stamp, claim Claim) []webhook.JSONPatchOp {
	ops := addBundle(pod, stamp)
	free := freePorts(pod, stamp.MetricsPort)
	secret := obsv1.SettingsName(stamp.Stack.Namespace, stamp.Stack.Name, stamp.ConfigHash)
	for i := range pod.Spec.Containers {
		if !claim.chosen(pod.Spec.Containers[i].Name) {
			continue
		}
		container, path := new(pod.Spec.Containers[i]), "/spec/containers/"+strconv.Itoa(i)
		container.Env = slices.Clip(container.Env) // What is added is not the Pod's yet.
		if !readsFrom(container, secret) {
			ops = append(ops, addEnvFrom(path, container, secret))
		}
		if release := claim.release(container, stamp); release != "" {
			ops = append(ops, addEnv(path, container, corev1.EnvVar{Name: obsv1.VariableRelease, Value: release}))
		}
		if stamp.Python != "" {
			ops = append(ops, addPython(path, container, claim.PythonPath)...)
		}
		if stamp.Python != "" && stamp.MetricsPort > 0 {
			ops = append(ops, addMetricsPort(path, container, i, pod.Spec.HostNetwork, free)...)
		}
	}
	marks := map[string]string{obsv1.MarkInjected: stamp.ConfigHash}
	// The stamp's labels are how obstack finds the Pod, also where it has no stamped template.
	if _, stamped := pod.Labels[obsv1.StampVersion]; !stamped {
		ops = append(ops, setKeys("/metadata/labels", pod.Labels, stamp.Labels(), StampLabels)...)
		marks[obsv1.StampConfigHash] = stamp.ConfigHash
	}
	return append(ops, setKeys("/metadata/annotations", pod.Annotations, marks, slices.Sorted(maps.Keys(marks)))...)
}

// release of a container that has none of its own; empty if it gets none.
func (c Claim) release(container *corev1.Container, stamp Stamp) string {
	version := versionOf(container.Image)
	if stamp.Workload == "" || c.OwnRelease || version == "" || setsVariable(container, obsv1.VariableRelease) {
		return ""
	}
	return stamp.Workload + "@" + version
}

// StartedBefore reports whether a container of a Pod runs that reads a Secret and started before
// this was made, and whether all that read it run.
func StartedBefore(pod *corev1.Pod, secret string, made time.Time) (before, all bool) {
	running := map[string]time.Time{}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil {
			running[status.Name] = status.State.Running.StartedAt.Time
		}
	}
	all = true
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		if !readsFrom(container, secret) {
			continue
		}
		started, runs := running[container.Name]
		before, all = before || runs && started.Before(made), all && runs
	}
	return before, all
}

func readsFrom(container *corev1.Container, secret string) bool {
	return slices.ContainsFunc(container.EnvFrom, func(source corev1.EnvFromSource) bool {
		return source.SecretRef != nil && source.SecretRef.Name == secret
	})
}

func setsVariable(container *corev1.Container, variable string) bool {
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

// addEnv adds a variable to a container, which knows it then.
func addEnv(path string, container *corev1.Container, env corev1.EnvVar) webhook.JSONPatchOp {
	container.Env = append(container.Env, env)
	if len(container.Env) == 1 {
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

// versionOf is the tag of an image, or the digest of one without a tag; empty if
// the image has neither. Sentry accepts both as a release.
func versionOf(image string) string {
	name, digest, _ := strings.Cut(image, "@")
	// A colon before the last slash belongs to the registry's port.
	if _, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); tagged {
		return tag
	}
	return digest
}
