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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// pretender is what a team may make to be taken for the operator.
func pretender(namespace string) *appsv1.Deployment {
	labels := map[string]string{"app.kubernetes.io/part-of": "obstack"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "manager", Image: "a:b", Args: []string{
					"--watch-namespaces=team-a", "--webhook-bind-address=:1", "--webhook-cert-secret", "a/b/c",
				}}},
			}},
		},
	}
}

// foreign is what others made that looks like a part of obstack. Nothing of it changes
// what is said of obstack, and the Deployment is named.
func (p *patient) foreign(t *testing.T) {
	t.Helper()
	fake := pretender("team-a")
	testenv.Create(t, p, fake)
	t.Cleanup(func() { p.remove(t, fake) })
	p.roll(t, client.ObjectKeyFromObject(fake), 1)
	other, unowned := healthyMonitor(t, p), healthyMonitor(t, p)
	other.Namespace, unowned.Name, unowned.OwnerReferences = "team-a", "healthy-fake", nil
	for _, monitor := range []*monitoringv1.ServiceMonitor{other, unowned} {
		testenv.Create(t, p, monitor)
		t.Cleanup(func() { p.remove(t, monitor) })
	}
	release := map[string]string{"release": "k8s"}
	change(t, p, &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"}},
		func(prometheus *monitoringv1.Prometheus) {
			prometheus.Spec.ServiceMonitorSelector = &metav1.LabelSelector{MatchLabels: release}
		})
	change(t, p, healthyMonitor(t, p), func(monitor *monitoringv1.ServiceMonitor) {
		monitor.Labels["release"] = release["release"]
	})
	out, code := p.doctor(t)
	if code != exitWell || !strings.HasPrefix(out, "obstack has 1 warning:") ||
		!strings.Contains(flat(out), "operator: Deployment team-a/a →") {
		t.Errorf("it ends with %d, want one warning:\n%s", code, out)
	}
	p.certifyFor(t, 30*time.Minute)
	if out, code := p.doctor(t); code != exitWrong || !strings.Contains(out, "has expired on") {
		t.Errorf("with an expired certificate, it ends with %d and says:\n%s", code, out)
	}
}

func TestDoctorRecognizesTheOperator(t *testing.T) {
	const namespace = "elsewhere"
	o, ok := operatorOf(pretender(namespace))
	if !ok {
		t.Fatal("it looks like no operator")
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: o.account()}
	bound := func(b binding) *installation {
		b.subjects = []rbacv1.Subject{account}
		return &installation{bindings: []binding{b}}
	}
	webhook := admissionv1.MutatingWebhook{ClientConfig: admissionv1.WebhookClientConfig{
		Service: &admissionv1.ServiceReference{Namespace: namespace},
	}}
	policy := &admissionv1.ValidatingAdmissionPolicy{Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConditions: []admissionv1.MatchCondition{
			{Expression: "request.userInfo.username == 'system:serviceaccount:elsewhere:default'"},
		},
	}}
	for name, tc := range map[string]struct {
		in   *installation
		want bool
	}{
		"nothing":                  {&installation{}, false},
		"flag":                     {&installation{operatorsIn: namespace}, true},
		"binding of the cluster":   {bound(binding{installed: true}), true},
		"binding of a namespace":   {bound(binding{installed: true, namespace: namespace}), false},
		"binding of somebody else": {bound(binding{}), false},
		"policy":                   {&installation{validating: []*admissionv1.ValidatingAdmissionPolicy{policy}}, true},
		"webhook": {&installation{webhooks: []*admissionv1.MutatingWebhookConfiguration{
			{Webhooks: []admissionv1.MutatingWebhook{webhook}},
		}}, true},
	} {
		tc.in.recognize([]operator{o})
		if got := len(tc.in.operators) == 1; got != tc.want || got == (len(tc.in.pretenders) == 1) {
			t.Errorf("%s: recognized %t, want %t, and %v named", name, got, tc.want, tc.in.pretenders)
		}
	}
	if key := o.certificate(); key != (types.NamespacedName{}) || !o.malformed() {
		t.Errorf("its certificate is in %s, want a/b/c to be refused", key)
	}
}

// elsewhere is an operator that the flag leads to, where nothing of the cluster leads to it.
func (p *patient) elsewhere(t *testing.T) {
	t.Helper()
	fake := pretender("team-b")
	testenv.Create(t, p, fake)
	t.Cleanup(func() { p.remove(t, fake) })
	for _, tc := range []struct {
		args []string
		says string
	}{
		{nil, "there is no Deployment of the operator: nothing keeps the stacks"},
		{[]string{"--operator-namespace=team-a"}, "there is no Deployment of the operator in namespace team-a"},
		{[]string{"--operator-namespace=team-b"}, "0 of 1 Pods of Deployment team-b/a are available"},
	} {
		out, code := p.doctor(t, tc.args...)
		if code != exitWrong || !strings.Contains(flat(out), tc.says) {
			t.Errorf("%v: it ends with %d, want %q:\n%s", tc.args, code, tc.says, out)
		}
	}
}
