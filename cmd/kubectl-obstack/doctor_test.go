// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func TestDoctor(t *testing.T) {
	p := newPatient(t)
	limited := reader(t, p.plane, p)
	t.Run("without an installation", func(t *testing.T) {
		out, code := p.doctor(t)
		if !strings.Contains(out, "there is no Deployment of the operator") || code != exitWrong {
			t.Errorf("it ends with %d and says:\n%s", code, out)
		}
		p.elsewhere(t)
	})
	t.Run("healthy", func(t *testing.T) {
		for name, objects := range map[string][]*unstructured.Unstructured{
			"kustomize":  kustomized(t, "default"),
			"chart":      charted(t, "--set", "injection.engine=Webhook"),
			"namespaced": charted(t, "--set", "watchNamespaces={team-a,team-b}"),
			"minimal":    charted(t, "--set", "injection.enabled=false,leaderElection.enabled=false"),
			"policy":     charted(t, "--set", "injection.engine=Policy"),
			"policies":   kustomized(t, "default-policy"),
		} {
			t.Run(name, func(t *testing.T) {
				if strings.HasPrefix(name, "polic") && !p.servesPolicies() {
					t.Skip("this version of Kubernetes has no mutating policies")
				}
				p.install(t, objects)
				if out, code := p.doctor(t); code != exitWell || strings.Count(out, "\n") != 1 {
					t.Errorf("it ends with %d, want 0 and one line:\n%s", code, out)
				}
			})
		}
	})
	t.Run("kustomize", func(t *testing.T) {
		p.install(t, kustomized(t, "default"))
		out, _ := p.doctor(t)
		golden(t, "doctor/healthy.txt", out)
		p.wide(t)
		for name, tc := range sicknesses() {
			t.Run(name, func(t *testing.T) { tc.show(t, p) })
		}
		p.limited(t, limited)
		p.blind(t)
		p.toNobody(t)
		t.Run("foreign", p.foreign)
		p.broken(t)
	})
	if p.servesPolicies() {
		t.Run("policies", func(t *testing.T) {
			p.install(t, kustomized(t, "default-policy"))
			for name, tc := range policySicknesses() {
				t.Run(name, func(t *testing.T) { tc.show(t, p) })
			}
		})
	}
	wantResults(t, p.plane.Kubeconfig, []result{
		{[]string{"doctor", "shop"}, "kubectl obstack status looks at one stack", exitUsage},
		{[]string{"doctor", "-o", "xml"}, "must be one of wide, json, yaml", exitUsage},
	})
}

// TestDoctorEndsWithItsContext also while the API server does not respond.
func TestDoctorEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"doctor", "--kubeconfig=/dev/null", "--server=http://" + silent.Addr().String()},
			genericiooptions.NewTestIOStreamsDiscard())
	}()
	if _, err := silent.Accept(); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case code := <-ended:
		if code != exitWrong {
			t.Errorf("it ends with %d, want %d", code, exitWrong)
		}
	case <-time.After(testenv.Timeout):
		t.Error("it does not end")
	}
}

func (p *patient) servesPolicies() bool {
	_, err := p.RESTMapper().RESTMapping(
		admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy").GroupKind(), "v1")
	return err == nil
}

// wide shows everything that is looked at.
func (p *patient) wide(t *testing.T) {
	t.Helper()
	monitors := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "servicemonitors.monitoring.coreos.com"},
	}
	testenv.Change(t, p, monitors, func(monitors *apiextensionsv1.CustomResourceDefinition) {
		metav1.SetMetaDataAnnotation(&monitors.ObjectMeta, "operator.prometheus.io/version", "0.95.2")
	})
	out, code := p.doctor(t, "-o", "wide")
	for _, name := range []string{"versions", "definitions", "operator", "roles", "injection", "certificate",
		"admission policy", "platforms", "prometheus", "grafana", "stacks"} {
		if !strings.Contains(out, "─ "+name+": ok\n") || code != exitWell {
			t.Errorf("with %d, it does not show that %s is well:\n%s", code, name, out)
		}
	}
	if says := flat(out); !strings.Contains(says, "operator v0.1.0, prometheus-operator 0.95.2, plugin dev") {
		t.Errorf("it does not show the versions:\n%s", out)
	}
	for line := range strings.SplitSeq(out, "\n") {
		if len([]rune(line)) > columns {
			t.Errorf("%q has more than %d columns", line, columns)
		}
	}
}

// limited is what somebody sees with the rights of the role view, and with those in one namespace.
func (p *patient) limited(t *testing.T, kubeconfig string) {
	t.Helper()
	out, _, code := kubectlObstack(t, kubeconfig, "doctor")
	if p.servesPolicies() {
		golden(t, "doctor/view.txt", out)
	}
	if code != exitWell {
		t.Errorf("it ends with %d although it knows of no problem", code)
	}
	testenv.Create(t, p, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stacks"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{obsv1.GroupVersion.Group}, Resources: []string{"observabilitystacks"},
			Verbs: []string{"get", "list"}}},
	})
	testenv.Create(t, p, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stacks"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "stacks"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joe"}},
	})
	joe, err := p.plane.User("joe")
	if err != nil {
		t.Fatal(err)
	}
	out, _, code = kubectlObstack(t, joe, "doctor", "-n", "shop")
	if code != exitWrong || !strings.Contains(flat(out), "in namespace shop alone") ||
		!strings.HasPrefix(out, "obstack was not seen") ||
		!strings.Contains(out, ", 1 stack\n") {
		t.Errorf("confined to a namespace, it ends with %d and says:\n%s", code, out)
	}
}

// broken is the example of the page.
func (p *patient) broken(t *testing.T) {
	t.Helper()
	createStack(t, p, "broken")
	t.Cleanup(func() { p.remove(t, stackFile(t, "broken")) })
	without(t, p, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "obstack-injection-rolebinding"}})
	out, code := p.doctor(t)
	golden(t, "doctor/broken.txt", out)
	if code != exitWrong {
		t.Errorf("it ends with %d although there are problems", code)
	}
	out, _ = p.doctor(t, "-o", "json")
	report := DoctorReport{}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Stacks != 2 || report.count(StateProblem) < 2 {
		t.Errorf("the JSON has %d stacks and %d problems (%v):\n%s", report.Stacks, report.count(StateProblem), err, out)
	}
}
