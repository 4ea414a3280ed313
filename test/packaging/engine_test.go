// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// served makes helm render for a cluster that serves these policies.
const served = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"

func TestAutoChoosesTheEngineByWhatTheClusterServes(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		policy bool
	}{
		"Auto, served":        {args: []string{served}, policy: true},
		"Auto, not served":    {},
		"Policy, not asked":   {args: []string{"--set", "injection.engine=Policy"}, policy: true},
		"Webhook, served":     {args: []string{served, "--set", "injection.engine=Webhook"}},
		"no injection at all": {args: []string{served, "--set", "injection.enabled=false"}},
	} {
		objects := renderChart(t, tc.args...)
		args := container(t, only[appsv1.Deployment](t, objects, "Deployment")).Args
		wantWebhooks := !tc.policy && name != "no injection at all"
		if got := len(ofKind(objects, "MutatingAdmissionPolicy")) > 0; got != tc.policy ||
			slices.Contains(args, "--injection-policy=obstack-pods") != tc.policy {
			t.Errorf("%s: policies %v and arguments %v, want them: %v", name, got, args, tc.policy)
		}
		if got := len(ofKind(objects, "MutatingWebhookConfiguration")) > 0; got != wantWebhooks ||
			slices.Contains(args, "--webhook-bind-address=:9443") != wantWebhooks {
			t.Errorf("%s: webhooks %v and arguments %v, want them: %v", name, got, args, wantWebhooks)
		}
	}
}

// policies are those of a manifest or rendering, and their bindings, by kind and name.
func policies(objects []*unstructured.Unstructured) map[string]any {
	specs := map[string]any{}
	for _, object := range objects {
		if strings.HasPrefix(object.GetKind(), "MutatingAdmissionPolicy") {
			specs[object.GetKind()+" "+object.GetName()] = object.Object["spec"]
		}
	}
	return specs
}

func TestChartAndKustomizeInstallThePoliciesOfTheManifest(t *testing.T) {
	list := &unstructured.UnstructuredList{}
	if err := yaml.Unmarshal(read(t, root+"/config/injection/policies.yaml"), list); err != nil {
		t.Fatal(err)
	}
	var manifest []*unstructured.Unstructured
	for i := range list.Items {
		object := &list.Items[i]
		object.SetName("obstack-" + object.GetName())
		if name, bound, _ := unstructured.NestedString(object.Object, "spec", "policyName"); bound {
			if err := unstructured.SetNestedField(object.Object, "obstack-"+name, "spec", "policyName"); err != nil {
				t.Fatal(err)
			}
		}
		manifest = append(manifest, object)
	}
	want := policies(manifest)
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t, served), "kustomize": kustomize(t, "default-policy"),
	} {
		if diff := cmp.Diff(want, policies(objects)); diff != "" {
			t.Errorf("%s (-manifest +rendered):\n%s", name, diff)
		}
	}
}

// Nothing of the webhooks is left: no certificate to make, mount or may write.
func TestWithPoliciesThereAreNoWebhooks(t *testing.T) {
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t, values("policy")), "kustomize": kustomize(t, "default-policy"),
	} {
		for _, kind := range []string{"MutatingWebhookConfiguration", "Secret", "Certificate"} {
			if found := ofKind(objects, kind); len(found) > 0 {
				t.Errorf("%s: %s is there", name, path(found[0]))
			}
		}
		for _, object := range objects {
			if strings.Contains(object.GetName(), "certificate") {
				t.Errorf("%s: %s is there", name, path(object))
			}
		}
		if service := only[corev1.Service](t, objects, "Service"); service.Name != "obstack-metrics" {
			t.Errorf("%s: the Service is %s", name, service.Name)
		}
		deployment := only[appsv1.Deployment](t, objects, "Deployment")
		got := container(t, deployment)
		if len(got.Ports) != 2 || got.Lifecycle != nil || len(deployment.Spec.Template.Spec.Volumes) != 0 ||
			!slices.Contains(got.Args, "--injection-policy=obstack-pods") {
			t.Errorf("%s: the container still serves webhooks: %+v", name, got)
		}
	}
}

// No Pod is refused because of a policy, and none of those in which obstack runs is looked at.
func TestPoliciesCannotKeepAnythingFromStarting(t *testing.T) {
	objects := renderChart(t, values("policy"))
	for _, object := range ofKind(objects, "MutatingAdmissionPolicy") {
		spec := convert[admissionv1.MutatingAdmissionPolicy](t, object).Spec
		if *spec.FailurePolicy != admissionv1.Ignore {
			t.Errorf("%s has failurePolicy %s", object.GetName(), *spec.FailurePolicy)
		}
	}
	for _, object := range ofKind(objects, "MutatingAdmissionPolicyBinding") {
		spec := convert[admissionv1.MutatingAdmissionPolicyBinding](t, object).Spec
		excluded := spec.MatchResources.NamespaceSelector.MatchExpressions[0]
		if excluded.Operator != metav1.LabelSelectorOpNotIn ||
			!slices.Equal(excluded.Values, []string{metav1.NamespaceSystem, namespace, "kube-node-lease"}) {
			t.Errorf("%s excludes %+v", object.GetName(), excluded)
		}
	}
}

// The API server parses the selectors of every policy for every Pod that is made anywhere.
func TestPoliciesRuleOutOtherPodsByOneLabel(t *testing.T) {
	for _, object := range ofKind(renderChart(t, values("policy")), "MutatingAdmissionPolicy") {
		match := convert[admissionv1.MutatingAdmissionPolicy](t, object).Spec.MatchConstraints
		if match.NamespaceSelector != nil {
			t.Errorf("%s selects namespaces, which its binding can do: %v", object.GetName(), match.NamespaceSelector)
		}
		if match.ResourceRules[0].Resources[0] != "pods" {
			continue
		}
		deployments := labels.Set{"app": "shop", appsv1.DefaultDeploymentUniqueLabelKey: "5d8f6c7b9"}
		selector, err := metav1.LabelSelectorAsSelector(match.ObjectSelector)
		if err != nil {
			t.Fatal(err)
		}
		if requirements, _ := selector.Requirements(); len(requirements) != 1 || selector.Matches(deployments) {
			t.Errorf("%s takes Pods of any Deployment, or looks at more than one label: %s", object.GetName(), selector)
		}
	}
}
