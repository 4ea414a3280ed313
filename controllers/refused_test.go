// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// refuse has an admission policy refuse what the operator does with a kind in a namespace.
func refuse(t *testing.T, namespace, group, resource string, operation admissionv1.OperationType) {
	t.Helper()
	rule := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{operation},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
	}
	name := "freeze-" + namespace
	objects := []client.Object{
		&admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{
					ResourceRules:     []admissionv1.NamedRuleWithOperations{{RuleWithOperations: rule}},
					NamespaceSelector: metav1.SetAsLabelSelector(map[string]string{"kubernetes.io/metadata.name": namespace}),
				},
				MatchConditions: []admissionv1.MatchCondition{{
					Name: "operator", Expression: "request.userInfo.username == '" + testenv.OperatorAccount + "'",
				}},
				Validations: []admissionv1.Validation{{
					Expression: "false", Reason: new(metav1.StatusReasonForbidden), Message: "not today",
				}},
			},
		},
		&admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			},
		},
	}
	for _, object := range objects {
		create(t, object)
		t.Cleanup(func() { _ = live.Delete(context.WithoutCancel(t.Context()), object) })
	}
}

// stamping is a dry run of what the operator may do to other people's workloads.
func stamping(d *appsv1.Deployment) func(context.Context) error {
	touch := client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata": {"annotations": {"inject.obstack.dev/probe": "asked"}}}`))
	return func(ctx context.Context) error {
		return operator.Patch(ctx, d.DeepCopy(), touch, client.DryRunAll, client.FieldOwner(obsv1.FieldManager))
	}
}

// refused waits until a dry run is refused.
func refused(t *testing.T, dryRun func(context.Context) error) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		// The operator's own policy is in force already, and says "not today" to nobody.
		if err := dryRun(ctx); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "not today") {
			return "the admission policy is not in force"
		}
		return ""
	})
}

func TestRolloutReportsARefusalInsteadOfTryingAgain(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	refuse(t, ns, "apps", "deployments", admissionv1.Update)
	refused(t, stamping(d))

	stack := settingsStack(t, ns)
	result := f.reconcileStack(t, stack)
	message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	if !strings.Contains(message, "Deployment "+ns+"/api") ||
		!strings.Contains(message, "ValidatingAdmissionPolicy 'freeze-"+ns+"'") {
		t.Errorf("message = %q, want the workload and the policy in it", message)
	}
	if result.RequeueAfter < time.Minute {
		t.Errorf("looks again after %s, want a minute or more", result.RequeueAfter)
	}
	events := strings.Join(f.events(), "\n")
	if !strings.Contains(events, "InjectionFailed") || !strings.Contains(events, "freeze-"+ns) {
		t.Errorf("events %q, want one that names the policy", events)
	}
	wantStamp(t, d, "", "")
}

func TestWorkloadReconcilerRecordsARefusalInsteadOfTryingAgain(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	f.reconcileStack(t, settingsStack(t, ns))
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d) // the webhook stamps it
	delete(d.Annotations, obsv1.AnnotationStack)
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	refuse(t, ns, "apps", "deployments", admissionv1.Update)
	refused(t, stamping(d))

	key := policy.Key{Kind: policy.KindDeployment, NamespacedName: client.ObjectKeyFromObject(d)}
	result, err := f.workloads.Reconcile(t.Context(), key)
	if err != nil || result.RequeueAfter < time.Minute {
		t.Errorf("Reconcile: %v, again after %s, want no error and a minute or more", err, result.RequeueAfter)
	}
	if events := strings.Join(f.events(), "\n"); !strings.Contains(events, "freeze-"+ns) {
		t.Errorf("events %q, want one that names the policy", events)
	}
}

func TestPruneReportsARefusalInsteadOfTryingAgain(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	refuse(t, stack.Namespace, "apps", "deployments", admissionv1.Delete)
	exporter := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-tasks-main"}}
	refused(t, func(ctx context.Context) error { return operator.Delete(ctx, exporter.DeepCopy(), client.DryRunAll) })

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Tasks = nil })
	result := f.reconcileStack(t, stack)
	message := wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonRejected)
	if !strings.Contains(message, exporter.Name) || !strings.Contains(message, "freeze-"+stack.Namespace) ||
		result.RequeueAfter < time.Minute {
		t.Errorf("message %q, again after %s: want the object, the policy and a minute or more", message, result.RequeueAfter)
	}
}
