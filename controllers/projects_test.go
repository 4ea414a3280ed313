// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// A quota of the stack's own namespace that keeps the version of one project away, of which a
// tenant may make the operator need more, is the trouble of that project.
func TestRotationOfOneProjectStopsNoOther(t *testing.T) {
	f, home, other := newInjecting(t), namespace(t), namespace(t)
	stack, all := chooseProjects(t, home, "", "payments")
	change(t, stack, admitAll)
	theirs := annotatedDeployment(other, "api", home+"/shop")
	choosing := annotatedDeployment(other, "payments", home+"/shop")
	choosing.Annotations[obsv1.AnnotationSentryProject] = "payments"
	create(t, theirs)
	create(t, choosing)
	f.reconcileStack(t, stack)
	payments := stack.Status.Version("payments", true)
	wantStamp(t, choosing, home+"/shop", payments)
	for _, name := range []string{"shop-sentry", "sentry-payments"} {
		if err := live.Update(t.Context(), secret(home, name, "dsn", testDSNOf(name))); err != nil {
			t.Fatal(err)
		}
	}
	f.fail = func(verb string, obj client.Object) error {
		version, ok := obj.(*corev1.Secret)
		if ok && verb == "create" && strings.Contains(string(version.Data["SENTRY_DSN"]), "sentry-payments") &&
			version.Namespace == home {
			return apierrors.NewForbidden(corev1.Resource("secrets"), obj.GetName(), errors.New("exceeded quota"))
		}
		return nil
	}
	before := stack.Status.ConfigHash
	f.reconcileStack(t, stack)
	if stack.Status.ConfigHash == before {
		t.Error("the default project waits for another")
	}
	wantStamp(t, all[""], home+"/shop", stack.Status.ConfigHash)
	wantStamp(t, theirs, home+"/shop", stack.Status.ConfigHash)
	wantStamp(t, all["payments"], home+"/shop", payments)
	wantStamp(t, choosing, home+"/shop", payments)
	if got := stack.Status.Version("payments", true); got != payments {
		t.Errorf("the status names %s, which is not there", got)
	}
	wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionFalse, obsv1.ReasonRejected)
}

// Pods that choose a project which is gone have what they have, and wait for nothing.
func TestObserveRefusesPodsOfAProjectThatIsGone(t *testing.T) {
	f, other := newInjecting(t), namespace(t)
	stack := settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, stack)
	pod := clonedPod(other, "worker-1", stack.Status.ConfigHash, stack)
	pod.Annotations[obsv1.AnnotationSentryProject] = "gone"
	create(t, pod)
	f.reconcileStack(t, stack)
	got := stack.Status.Workloads
	if got == nil || got.Pending != 0 || got.Refused != 1 || len(got.Namespaces) != 1 ||
		got.Namespaces[0].Reason != obsv1.ReasonUnknownSentryProject {
		t.Errorf("workloads = %+v, want one of %s refused", got, other)
	}
}
