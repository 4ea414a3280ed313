// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// sickness is one thing that is broken, and the finding about it.
type sickness struct {
	breaks func(*testing.T, *patient)
	// finding is its name and state, and says is in its message or remedy.
	finding, says string
}

func (s sickness) show(t *testing.T, p *patient) {
	t.Helper()
	s.breaks(t, p)
	out, code := p.doctor(t)
	found := flat(out)
	if !strings.Contains(found, s.finding) || !strings.Contains(found, s.says) {
		t.Errorf("it does not say %q with %q:\n%s", s.finding, s.says, out)
	}
	if want := strings.Contains(s.finding, "problem"); want != (code == exitWrong) {
		t.Errorf("it ends with %d although the finding is %q", code, s.finding)
	}
}

var (
	theOperator = client.ObjectKey{Namespace: "obstack-system", Name: "obstack-controller-manager"}
	stacksCRD   = metav1.ObjectMeta{Name: "observabilitystacks.obstack.dev"}
	theWebhook  = metav1.ObjectMeta{Name: "obstack-webhook"}
	thePolicy   = metav1.ObjectMeta{Name: "obstack-operator"}
)

func managerRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "obstack-manager-role"}}
}

func webhookSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system", Name: "obstack-webhook-cert"}}
}

func deployment() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: theOperator.Namespace, Name: theOperator.Name}}
}

// sicknesses of an installation with webhooks.
func sicknesses() map[string]sickness {
	return map[string]sickness{
		"definition older": {func(t *testing.T, p *patient) {
			changeSchema(t, p, func(spec map[string]apiextensionsv1.JSONSchemaProps) { delete(spec, "suspend") })
		}, "definitions: problem", "is older than this plugin: it lacks spec.suspend"},
		"definition newer": {func(t *testing.T, p *patient) {
			changeSchema(t, p, func(spec map[string]apiextensionsv1.JSONSchemaProps) {
				spec["tomorrow"] = apiextensionsv1.JSONSchemaProps{Type: "boolean"}
			})
		}, "definitions: warning", "is newer than this plugin: it has spec.tomorrow"},
		"definition changed": {func(t *testing.T, p *patient) {
			changeSchema(t, p, func(spec map[string]apiextensionsv1.JSONSchemaProps) {
				suspend := spec["suspend"]
				suspend.Description = "changed"
				spec["suspend"] = suspend
			})
		}, "definitions: warning", "has other rules or descriptions"},
		"operator down": {func(t *testing.T, p *patient) {
			p.roll(t, theOperator, 0)
			t.Cleanup(func() { p.roll(t, theOperator, 1) })
		}, "operator: problem", "0 of 1 Pods of Deployment obstack-system/obstack-controller-manager are available"},
		"two operators": {func(t *testing.T, p *patient) {
			second := deployment()
			testenv.Read(t, p, second)
			second.Name, second.ResourceVersion = "second", ""
			testenv.Create(t, p, second)
			t.Cleanup(func() { p.remove(t, second) })
			p.roll(t, client.ObjectKeyFromObject(second), 1)
		}, "operator: problem", "several operators keep the same stacks"},
		"another version": {func(t *testing.T, _ *patient) {
			version = "v0.9.0"
			t.Cleanup(func() { version = "dev" })
		}, "versions: warning", "this plugin is v0.9.0, and operator obstack-system/obstack-controller-manager is v0.1.0"},
		"right missing": {func(t *testing.T, p *patient) {
			change(t, p, managerRole(), func(role *rbacv1.ClusterRole) {
				for i := range role.Rules {
					if role.Rules[i].Resources[0] == "deployments" {
						role.Rules[i].Verbs = []string{"get", "list", "watch"}
					}
				}
			})
		}, "roles: problem", "may not: create,delete,patch deployments.apps"},
		"right in a namespace missing": {func(t *testing.T, p *patient) {
			without(t, p, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system",
				Name: "obstack-leader-election-rolebinding"}})
		}, "roles: problem", "leases.coordination.k8s.io, create,patch events in namespace obstack-system"},
		"role missing": {func(t *testing.T, p *patient) { without(t, p, managerRole()) },
			"roles: problem", "may not: create,delete,get,list,patch,watch configmaps,"},
		"right to spare": {func(t *testing.T, p *patient) {
			change(t, p, managerRole(), func(role *rbacv1.ClusterRole) {
				role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"},
					Verbs: []string{"delete"}})
			})
		}, "roles: warning", "does not need: delete nodes (ClusterRole obstack-manager-role)"},
		"administrator": {func(t *testing.T, p *patient) {
			binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "too-much"},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
				Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "obstack-system", Name: theOperator.Name}}}
			testenv.Create(t, p, binding)
			t.Cleanup(func() { p.remove(t, binding) })
		}, "roles: warning", "(ClusterRole cluster-admin)"},
		"no webhooks": {func(t *testing.T, p *patient) {
			without(t, p, &admissionv1.MutatingWebhookConfiguration{ObjectMeta: theWebhook})
		}, "injection: problem", "no MutatingWebhookConfiguration leads to them"},
		"webhook missing": {func(t *testing.T, p *patient) {
			changeWebhooks(t, p, func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = c.Webhooks[1:] })
		}, "injection: problem", "pods.inject.obstack.dev is missing"},
		"webhook that fails": {func(t *testing.T, p *patient) {
			changeWebhooks(t, p, func(c *admissionv1.MutatingWebhookConfiguration) {
				c.Webhooks[0].FailurePolicy = new(admissionv1.Fail)
			})
		}, "injection: problem", "can keep Pods from starting"},
		"webhook of other requests": {func(t *testing.T, p *patient) {
			changeWebhooks(t, p, func(c *admissionv1.MutatingWebhookConfiguration) {
				c.Webhooks[0].ObjectSelector = &metav1.LabelSelector{}
			})
		}, "injection: problem", "pods.inject.obstack.dev is asked about other requests"},
		"webhooks of nobody": {func(t *testing.T, p *patient) {
			change(t, p, deployment(), func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Args = []string{"--leader-elect"}
			})
		}, "injection: warning", "leads to webhooks that no operator serves"},
		"certificate expired": {func(t *testing.T, p *patient) { p.certifyFor(t, 30*time.Minute) },
			"certificate: problem", "has expired on"},
		"certificate late": {func(t *testing.T, p *patient) { p.certifyFor(t, time.Hour+time.Minute) },
			"certificate: warning", "has not been renewed"},
		"certificate empty": {func(t *testing.T, p *patient) {
			change(t, p, webhookSecret(), func(secret *corev1.Secret) { secret.Data = nil })
		}, "certificate: problem", "has not been made yet"},
		"certificate of another authority": {func(t *testing.T, p *patient) {
			other := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: theWebhook}
			testenv.Read(t, p, other)
			authority := other.Webhooks[0].ClientConfig.CABundle
			p.certifyFor(t, 24*time.Hour)
			changeWebhooks(t, p, func(c *admissionv1.MutatingWebhookConfiguration) {
				c.Webhooks[0].ClientConfig.CABundle = authority
			})
		}, "certificate: problem", "is not one that MutatingWebhookConfiguration obstack-webhook has the API server trust"},
		"certificate of no Secret": {func(t *testing.T, p *patient) {
			change(t, p, deployment(), func(d *appsv1.Deployment) {
				args := d.Spec.Template.Spec.Containers[0].Args
				for i, arg := range args {
					if strings.HasPrefix(arg, "--webhook-cert-secret=") {
						args[i] = "--webhook-cert-secret=obstack-system/obstack-webhook-cert/x"
					}
				}
			})
		}, "certificate: problem", "has --webhook-cert-secret=obstack-system/obstack-webhook-cert/x, which is no"},
		"nothing bounds": {func(t *testing.T, p *patient) {
			without(t, p, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: thePolicy})
		}, "admission policy: warning", "bounds what the operator may write"},
		"policy without a binding": {func(t *testing.T, p *patient) {
			without(t, p, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: thePolicy})
		}, "admission policy: problem", "deny anything"},
		"policy of another version": {func(t *testing.T, p *patient) {
			change(t, p, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: thePolicy},
				func(policy *admissionv1.ValidatingAdmissionPolicy) {
					policy.Spec.Validations = policy.Spec.Validations[1:]
				})
		}, "admission policy: warning", "is not that of this version"},
		"platform":         {breakPlatform, "platforms: problem", "lacks Secrets grafana-token → create them there"},
		"platform backend": {breakPlatform, "platforms: problem", "Unauthorized: refuses the token"},
		"prometheus": {func(t *testing.T, p *patient) {
			change(t, p, &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"}},
				func(prometheus *monitoringv1.Prometheus) {
					prometheus.Spec.ServiceMonitorSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"release": "k8s"}}
				})
		}, "prometheus: problem", "monitoring/k8s wants release=k8s"},
		"sidecar": partSickness(obsv1.PartStatus{Kind: obsv1.PartDashboard, Name: "overview", State: metav1.ConditionFalse,
			Level: obsv1.LevelSelected, Reason: obsv1.ReasonNoSidecar, Message: "no sidecar takes it"},
			"grafana: problem", "of 1 dashboard: NoSidecar 1, such as shop/healthy: no sidecar takes it"),
		"host": partSickness(obsv1.PartStatus{Kind: obsv1.PartDSN, Name: "default", State: metav1.ConditionUnknown,
			Level: obsv1.LevelWritten, Reason: obsv1.ReasonHostNotAllowed, Message: "its host may not be asked"},
			"sentry: warning", "of 1 DSN: HostNotAllowed 1"),
		"task events": partSickness(obsv1.PartStatus{Kind: obsv1.PartBroker, Name: "main", State: metav1.ConditionFalse,
			Level: obsv1.LevelSeen, Reason: obsv1.ReasonEventsDisabled, Message: "worker celery@a sends no task events"},
			"task events: problem", "start the workers with -E"),
		"stack not ready": {func(t *testing.T, p *patient) {
			changeStatus(t, p, func(status *obsv1.ObservabilityStackStatus) {
				status.Conditions[2].Status, status.Conditions[2].Reason = metav1.ConditionFalse, obsv1.ReasonMissingAPI
			})
		}, "stacks: problem", "not ready: 1 of 1 stack (MissingAPI 1), such as shop/healthy"},
		"stack not verified": {func(t *testing.T, p *patient) {
			changeStatus(t, p, func(status *obsv1.ObservabilityStackStatus) {
				status.Conditions[3].Status, status.Conditions[3].Reason = metav1.ConditionFalse, obsv1.ReasonTargetDown
			})
		}, "stacks: problem", "ready and not verified: 1 of 1 stack (TargetDown 1)"},
		"stack rolling out": {func(t *testing.T, p *patient) {
			changeStatus(t, p, func(status *obsv1.ObservabilityStackStatus) {
				status.Conditions[2].Status, status.Conditions[2].Reason = metav1.ConditionFalse, obsv1.ReasonRollingOut
			})
		}, "stacks: warning", "kubectl obstack status healthy -n shop"},
		"stack not looked at": {func(t *testing.T, p *patient) {
			changeStatus(t, p, func(status *obsv1.ObservabilityStackStatus) { status.ObservedGeneration = 0 })
		}, "stacks: warning", "has not looked at the newest spec of 1 stack: shop/healthy"},
	}
}

// policySicknesses are those of an installation with policies.
func policySicknesses() map[string]sickness {
	pods := metav1.ObjectMeta{Name: "obstack-pods"}
	return map[string]sickness{
		"policy missing": {func(t *testing.T, p *patient) {
			without(t, p, &admissionv1.MutatingAdmissionPolicy{ObjectMeta: pods})
		}, "injection: problem", "obstack-pods is missing"},
		"binding missing": {func(t *testing.T, p *patient) {
			without(t, p, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: pods})
		}, "injection: problem", "obstack-pods has no binding"},
		"policy that fails": {func(t *testing.T, p *patient) {
			change(t, p, &admissionv1.MutatingAdmissionPolicy{ObjectMeta: pods},
				func(policy *admissionv1.MutatingAdmissionPolicy) { policy.Spec.FailurePolicy = new(admissionv1.Fail) })
		}, "injection: problem", "can keep Pods from starting"},
		"policy of another version": {func(t *testing.T, p *patient) {
			change(t, p, &admissionv1.MutatingAdmissionPolicy{ObjectMeta: pods},
				func(policy *admissionv1.MutatingAdmissionPolicy) { policy.Spec.MatchConditions = nil })
		}, "injection: problem", "obstack-pods is not that of this version"},
		"policies of nobody": {func(t *testing.T, p *patient) {
			change(t, p, deployment(), func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Args = []string{"--leader-elect"}
			})
		}, "injection: warning", "the operator does not know of them"},
	}
}

func changeSchema(t *testing.T, p *patient, edit func(spec map[string]apiextensionsv1.JSONSchemaProps)) {
	t.Helper()
	change(t, p, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: stacksCRD},
		func(definition *apiextensionsv1.CustomResourceDefinition) {
			edit(definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties)
		})
}

func changeWebhooks(t *testing.T, p *patient, edit func(*admissionv1.MutatingWebhookConfiguration)) {
	t.Helper()
	change(t, p, &admissionv1.MutatingWebhookConfiguration{ObjectMeta: theWebhook}, edit)
}

// certifyFor so long, until the test ends.
func (p *patient) certifyFor(t *testing.T, age time.Duration) {
	t.Helper()
	change(t, p, webhookSecret(), func(*corev1.Secret) {})
	changeWebhooks(t, p, func(*admissionv1.MutatingWebhookConfiguration) {})
	p.certify(t, age)
}

// changeStatus of the healthy stack until the test ends.
func changeStatus(t *testing.T, p *patient, edit func(*obsv1.ObservabilityStackStatus)) {
	t.Helper()
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "healthy"}}
	testenv.Read(t, p, stack)
	before := stack.DeepCopy()
	edit(&stack.Status)
	p.writeStatus(t, stack)
	t.Cleanup(func() {
		before.ResourceVersion = stack.ResourceVersion
		p.writeStatus(t, before)
	})
}

// partSickness is what the operator says of a part.
func partSickness(part obsv1.PartStatus, finding, says string) sickness {
	return sickness{func(t *testing.T, p *patient) {
		changeStatus(t, p, func(status *obsv1.ObservabilityStackStatus) { status.Parts = []obsv1.PartStatus{part} })
	}, finding, says}
}

func breakPlatform(t *testing.T, p *patient) {
	t.Helper()
	platform := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	testenv.Create(t, p, platform)
	t.Cleanup(func() { p.remove(t, platform) })
	platform.Status = obsv1.ObservabilityPlatformStatus{
		ObservedGeneration: platform.Generation, MissingSecrets: []string{"grafana-token"},
		Conditions: []metav1.Condition{
			{Type: obsv1.Ready, Status: metav1.ConditionFalse, Reason: obsv1.ReasonSecretNotFound,
				LastTransitionTime: metav1.Now()},
			{Type: obsv1.PrometheusReachable, Status: metav1.ConditionFalse, Reason: obsv1.ReasonUnauthorized,
				Message: "refuses the token", LastTransitionTime: metav1.Now()},
		},
	}
	p.writeStatus(t, platform)
}
