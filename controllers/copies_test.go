// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func TestReconcileKeepsCopies(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	stack := settingsStack(t, home, admitAll)
	d := annotatedDeployment(elsewhere, "api", home+"/shop")
	create(t, d)
	f.reconcileStack(t, stack)
	settings := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: obsv1.SettingsName(home, "shop")}}
	refresh(t, settings)
	if got := string(settings.Data["ENVIRONMENT"]); got != "production" {
		t.Errorf("the copy says %q", got)
	}
	if len(settings.OwnerReferences) > 0 {
		t.Error("the copy has an owner reference to another namespace, for which garbage collection deletes it")
	}
	f.sent.reset()
	f.reconcileStack(t, stack)
	if slices.Contains(f.sent.writes, "patch "+settings.Name) {
		t.Error("an unchanged copy is written again")
	}

	settings.Data["ENVIRONMENT"] = []byte("forged")
	if err := live.Update(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	if refresh(t, settings); string(settings.Data["ENVIRONMENT"]) != "production" {
		t.Error("a copy that was edited by hand is not repaired")
	}
	if err := live.Delete(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	refresh(t, settings)

	if err := live.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	if err := live.Get(t.Context(), client.ObjectKeyFromObject(settings), settings); !apierrors.IsNotFound(err) {
		t.Errorf("the copy of a namespace without workloads: %v, want it gone", err)
	}
}

func TestCopyReconcilerDeletesTheCopiesOfAStackThatIsGone(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	stack := settingsStack(t, home, admitAll)
	create(t, annotatedDeployment(elsewhere, "api", home+"/shop"))
	f.reconcileStack(t, stack)
	key := types.NamespacedName{Namespace: elsewhere, Name: obsv1.SettingsName(home, "shop")}
	reconcileCopy := func() error {
		if _, err := f.copies.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
		return live.Get(t.Context(), key, &corev1.Secret{})
	}
	if err := reconcileCopy(); err != nil {
		t.Fatalf("the copy of a stack that exists: %v", err)
	}
	if err := live.Delete(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	if err := reconcileCopy(); !apierrors.IsNotFound(err) {
		t.Errorf("the copy of a stack that is gone: %v, want it gone", err)
	}
}
