// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/test/testenv"
)

// engines are what may inject: the webhooks, the policy, and by mistake both; on an API server that
// is too old for policies, the webhooks.
var engines = []string{"webhook", "policy", "both"}

// engineNamespaces has for each engine a namespace with the stacks shop and other.
func engineNamespaces(t *testing.T, labels map[string]string) map[string]string {
	t.Helper()
	namespaces := map[string]string{}
	for _, engine := range engines {
		all := map[string]string{labelEngine: engine}
		maps.Copy(all, labels)
		namespaces[engine] = labelledNamespace(t, all)
		for _, name := range []string{"shop", "other"} {
			stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[engine], Name: name}}
			stack.Spec.Environment = "production"
			stack.Spec.Sentry = sentryProjects()
			create(t, stack)
			stack.Status.ConfigHash = version
			stack.Status.Projects = []obsv1.SentryProjectStatus{{Name: "payments", ConfigHash: ofPayments}}
			if err := live.Status().Update(t.Context(), stack); err != nil {
				t.Fatal(err)
			}
		}
	}
	return namespaces
}

func sentryProjects() *obsv1.SentrySpec {
	return &obsv1.SentrySpec{Projects: []obsv1.SentryProject{{Name: "payments", DSNFrom: *from("sentry-payments", "dsn")}}}
}

// The Pod gets the same bytes, whatever injects them: the policies that the API server evaluates
// are the same decision as package policy, written a second time.
func TestEveryEngineInjectsTheSame(t *testing.T) {
	plain, inherited := engineNamespaces(t, nil), engineNamespaces(t, keys(obsv1.LabelUseStack, "shop"))
	awaitPolicies(t, plain["policy"])
	for _, table := range []struct {
		namespaces map[string]string
		cases      map[string]injectionCase
	}{{plain, stampedCases}, {plain, unstampedCases}, {inherited, inheritedCases}} {
		for name, tc := range table.cases {
			t.Run(name, func(t *testing.T) {
				results := map[string]string{}
				for _, engine := range engines {
					namespace := table.namespaces[engine]
					pod := tc.pod(namespace)
					if err := live.Create(t.Context(), pod, client.DryRunAll); err != nil {
						t.Fatalf("%s: %v", engine, err)
					}
					if got := summary(pod); got != tc.want {
						t.Errorf("%s: injected %q, want %q", engine, got, tc.want)
					}
					results[engine] = injectedPart(t, pod, namespace)
				}
				for _, engine := range engines[1:] {
					if diff := cmp.Diff(results[engines[0]], results[engine]); diff != "" {
						t.Errorf("-%s +%s:\n%s", engines[0], engine, diff)
					}
				}
			})
		}
	}
}

// awaitPolicies waits until the API server evaluates those with parameters, which it does some
// seconds after the definition of stacks is there.
func awaitPolicies(t *testing.T, namespace string) {
	t.Helper()
	if !slices.Contains(engines, "policy") {
		return
	}
	testenv.Poll(t, func(ctx context.Context) string {
		pod := unstampedCases["annotated"].pod(namespace)
		if err := live.Create(ctx, pod, client.DryRunAll); err != nil {
			return err.Error()
		}
		if pod.Annotations[obsv1.MarkInjected] == "" {
			return "the policy does not inject yet"
		}
		return ""
	})
}

func (tc injectionCase) pod(namespace string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "api",
		Labels: replaced(tc.labels, namespace), Annotations: replaced(tc.annotations, namespace),
	}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "shop:1"}}
	pod.Spec.Containers = []corev1.Container{
		{Name: "api", Image: "shop:1"},
		{
			Name: "web", Image: "shop:2", Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "own"},
			}}},
		},
		{Name: "istio-proxy", Image: "istio:3"},
	}
	if tc.edit != nil {
		tc.edit(pod)
	}
	return pod
}

func replaced(all map[string]string, namespace string) map[string]string {
	all = maps.Clone(all)
	for key, value := range all {
		all[key] = strings.ReplaceAll(value, "NS", namespace)
	}
	return all
}

// summary lists the containers that take settings before all else, and their releases, after the
// project.
func summary(pod *corev1.Pod) string {
	var names []string
	switch pod.Annotations[obsv1.MarkInjected] {
	case version:
	case ofPayments:
		names = append(names, "payments:")
	default:
		return ""
	}
	for _, c := range pod.Spec.Containers {
		if len(c.EnvFrom) == 0 || c.EnvFrom[0].SecretRef == nil {
			continue
		}
		name := c.Name
		for _, env := range c.Env {
			if env.Name == obsv1.VariableRelease {
				name += "=" + env.Value
			}
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return " "
	}
	return strings.Join(names, " ")
}

// injectedPart is all of a Pod that injection may change, the same in each namespace.
func injectedPart(t *testing.T, pod *corev1.Pod, namespace string) string {
	t.Helper()
	part, err := json.MarshalIndent(
		[]any{pod.Labels, pod.Annotations, pod.Spec.Containers, pod.Spec.InitContainers}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(part), namespace, "NS")
}

// The operator asks no webhook about what the API server injects by itself, and says what it found.
func TestEngineIsByPolicyWhereOneIsInstalled(t *testing.T) {
	testenv.NeedPolicies(t, restConfig)
	chosen := map[string]string{labelEngine: "policy"}
	for name, tc := range map[string]struct {
		policy    string
		namespace map[string]string
		want      bool
		shown     string
	}{
		"a namespace that the policy chooses": {"pods", chosen, true, injection.EnginePolicy},
		"one that it leaves out":              {"pods", nil, false, injection.EnginePolicy},
		"a policy that is not there":          {"gone", chosen, false, injection.EngineWebhook},
		"webhooks alone":                      {"", chosen, false, injection.EngineWebhook},
	} {
		t.Run(name, func(t *testing.T) {
			engine := &injection.Engine{Live: operator, Policy: tc.policy, Webhooks: true, Now: time.Now}
			if got, err := engine.ByPolicy(t.Context(), tc.namespace); got != tc.want || err != nil {
				t.Errorf("by policy: %v, %v, want %v", got, err, tc.want)
			}
			wantEngine(t, tc.shown)
		})
	}
}

// wantEngine checks what the metric says.
func wantEngine(t *testing.T, want string) {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if family.GetName() == "obstack_injection_engine" {
			for _, metric := range family.GetMetric() {
				got = append(got, fmt.Sprint(metric.GetLabel()[0].GetValue(), metric.GetGauge().GetValue()))
			}
		}
	}
	if !slices.Equal(got, []string{want + "1"}) {
		t.Errorf("obstack_injection_engine = %v, want %s alone", got, want)
	}
}

// A policy that somebody removes is missed a minute later.
func TestEngineNoticesThatThePolicyIsGone(t *testing.T) {
	testenv.NeedPolicies(t, restConfig)
	now := time.Now()
	engine := &injection.Engine{Live: operator, Policy: "pods", Now: func() time.Time { return now }}
	chosen := map[string]string{labelEngine: "policy"}
	if got, err := engine.ByPolicy(t.Context(), chosen); !got || err != nil {
		t.Fatalf("by policy: %v, %v, want it", got, err)
	}
	engine.Policy = "gone"
	if got, err := engine.ByPolicy(t.Context(), chosen); !got || err != nil {
		t.Errorf("by policy: %v, %v, want what was found just now", got, err)
	}
	now = now.Add(2 * time.Minute)
	if got, err := engine.ByPolicy(t.Context(), chosen); got || err != nil {
		t.Errorf("by policy: %v, %v, want it missed", got, err)
	}
	wantEngine(t, injection.EngineNone)
}
