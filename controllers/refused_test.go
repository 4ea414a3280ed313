// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
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
	"obstack.dev/obstack/test/testenv"
)

// refuse has an admission policy refuse what the operator does with the Deployments of a namespace.
func refuse(t *testing.T, namespace string, operation admissionv1.OperationType) {
	t.Helper()
	rule := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{operation},
		Rule: admissionv1.Rule{
			APIGroups: []string{"apps"}, APIVersions: []string{"*"}, Resources: []string{"deployments"},
		},
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
	refuse(t, ns, admissionv1.Update)
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

func TestRolloutReportsARefusedRelease(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d) // the webhook stamps it
	delete(d.Annotations, obsv1.AnnotationStack)
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	refuse(t, ns, admissionv1.Update)
	refused(t, stamping(d))

	f.reconcileStack(t, stack)
	f.clock = f.clock.Add(time.Minute)
	if result := f.reconcileStack(t, stack); result.RequeueAfter < time.Minute {
		t.Errorf("again after %s, want a minute or more", result.RequeueAfter)
	}
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	if events := strings.Join(f.events(), "\n"); !strings.Contains(events, "freeze-"+ns) {
		t.Errorf("events %q, want one that names the policy", events)
	}
	// While it waits, it is no less refused.
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	if events := f.events(); len(events) > 0 {
		t.Errorf("events %q, want none before the next try", events)
	}
}

// A tenant whose every workload is refused, more than may roll out at a time, stops nobody else.
func TestRolloutGoesOnAfterRefusals(t *testing.T) {
	f := newInjecting(t)
	frozen, ns := namespace(t), namespace(t)
	stack := settingsStack(t, ns, admitAll)
	var all []*appsv1.Deployment
	for i := range 7 {
		all = append(all, annotatedDeployment(frozen, fmt.Sprintf("a-%d", i), ns+"/shop"))
	}
	all = append(all, annotatedDeployment(ns, "api", "shop"), annotatedDeployment(ns, "worker", "shop"))
	for _, d := range all {
		create(t, d)
	}
	refuse(t, frozen, admissionv1.Update)
	refused(t, stamping(all[0]))
	for range 3 {
		f.reconcileStack(t, stack)
	}
	for _, d := range all[7:] {
		wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	}
	// That is the tenant's own matter, and is said there.
	got := stack.Status.Workloads
	if len(got.Namespaces) != 1 || got.Namespaces[0].Name != frozen || got.Namespaces[0].Pending != 7 ||
		got.Namespaces[0].Reason != obsv1.ReasonRejected {
		t.Errorf("workloads = %+v, want those of %s to be refused", got, frozen)
	}
	message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonRollingOut)
	if strings.Contains(message, frozen) {
		t.Errorf("message %q is about another namespace", message)
	}
}

func TestPruneReportsARefusalInsteadOfTryingAgain(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	refuse(t, stack.Namespace, admissionv1.Delete)
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
