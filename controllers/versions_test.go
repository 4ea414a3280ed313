// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// copied makes a stack with a version of its settings in its own namespace and in another.
func (f *injecting) copied(t *testing.T) (stack *obsv1.ObservabilityStack, versions []*corev1.Secret) {
	t.Helper()
	stack, d := f.elsewhere(t)
	for _, in := range []string{stack.Namespace, d.Namespace} {
		version := settingsIn(stack, in)
		refresh(t, version)
		versions = append(versions, version)
	}
	return stack, versions
}

// Argo CD takes what has its label and no owner for its own, and prunes it.
func TestVersionsBelongToNoGitOpsTool(t *testing.T) {
	_, versions := newInjecting(t).copied(t)
	for _, version := range versions {
		if instance, set := version.Labels["app.kubernetes.io/instance"]; set {
			t.Errorf("%s/%s is labelled with the instance %q", version.Namespace, version.Name, instance)
		}
		for key, want := range map[string]string{
			"argocd.argoproj.io/compare-options": "IgnoreExtraneous",
			"argocd.argoproj.io/sync-options":    "Prune=false",
			"kustomize.toolkit.fluxcd.io/prune":  "disabled",
		} {
			if got := version.Annotations[key]; got != want {
				t.Errorf("%s/%s has the annotation %s: %q, want %q", version.Namespace, version.Name, key, got, want)
			}
		}
	}
}

// Whoever turns the injection off has Pods that run with what was injected.
func TestReconcileWithoutInjectionKeepsAllVersions(t *testing.T) {
	stack, versions := newInjecting(t).copied(t)
	off := newFixture(t)
	off.reconcileStack(t, stack)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	off.reconcileStack(t, stack)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "" })
	off.reconcileStack(t, stack)
	for _, version := range versions {
		before := version.ResourceVersion
		if !exists(t, version) || version.ResourceVersion != before {
			t.Errorf("%s/%s is gone or changed, want it left alone", version.Namespace, version.Name)
		}
	}
}

// Without injection nobody sees Pods, so the end of a grace that was begun with it is no end.
func TestSetupWithoutInjectionDeletesNoVersion(t *testing.T) {
	stack, versions := newInjecting(t).copied(t)
	version, first := versions[0], stack.Status.ConfigHash
	version.Annotations[obsv1.AnnotationUnusedSince] = time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	if err := live.Update(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	startManager(t, stack.Namespace)
	eventually(t, "the next version", func() error {
		if refresh(t, stack); stack.Status.ConfigHash == first {
			return errors.New("the stack was not reconciled")
		}
		return nil
	})
	if !exists(t, version) {
		t.Error("the version is deleted, though Pods may run with it")
	}
}
