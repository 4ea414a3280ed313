// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// The versions of the settings in the tests of rollouts.
var oldHash, newHash = strings.Repeat("0", 32), strings.Repeat("1", 32)

// manualStack is one of which the status names a version of the settings.
func manualStack(t *testing.T, api client.Client) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Injection: &obsv1.InjectionSpec{
				Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll},
				Rollout:    &obsv1.RolloutSpec{Policy: obsv1.RolloutManual, MaxConcurrent: 1},
			},
		},
	}
	testenv.Create(t, api, stack)
	give(t, api, stack, oldHash)
	return stack
}

// give a stack a version of the settings, as the operator does, and wait until the API server
// stamps new workloads with it.
func give(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack, hash string) {
	t.Helper()
	stack.Status.ObservedGeneration = stack.Generation
	stack.Status.ConfigHash, stack.Status.ConfigHashWithoutEnv = hash, hash
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	waitStamps(t, api, hash)
}

// waitStamps until the API server stamps new workloads of stack shop/shop with a version.
func waitStamps(t *testing.T, api client.Client, hash string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		trial := stampedDeployment("shop", "trial", "")
		if err := api.Create(ctx, trial, client.DryRunAll); err != nil {
			return err.Error()
		}
		if trial.Spec.Template.Labels[obsv1.StampVersion] != hash {
			return "the API server stamps with another version"
		}
		return ""
	})
}

// podsOf a stack's workload, with a version of the settings, or none if it is empty.
func podsOf(name, hash string) corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
	}
	if hash != "" {
		stamp := policy.Stamp{Stack: client.ObjectKey{Namespace: "shop", Name: "shop"}, ConfigHash: hash}
		template.Labels, template.Annotations = stamp.Labels(), stamp.Annotations()
	}
	template.Labels["app"] = name
	return template
}

func stampedDeployment(namespace, name, hash string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Annotations: map[string]string{obsv1.AnnotationStack: "shop/shop"},
		},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: podsOf(name, hash),
		},
	}
}

// installPolicies by which the API server injects, and wait until it does.
func installPolicies(t *testing.T, api client.Client) {
	t.Helper()
	policies, err := testenv.ReadPolicies()
	if err != nil {
		t.Fatal(err)
	}
	if err := policies.Install(t.Context(), api); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, func(ctx context.Context) string {
		template := podsOf("trial", oldHash)
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Namespace, pod.GenerateName = "shop", "trial-"
		if err := api.Create(ctx, pod, client.DryRunAll); err != nil {
			return err.Error()
		}
		if pod.Annotations[obsv1.MarkInjected] == "" {
			return "the API server does not inject"
		}
		return ""
	})
}

// TestRollout rolls out on simulated nodes, where the API server injects.
func TestRollout(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{Nodes: 1})
	testenv.NeedPolicies(t, plane.Config)
	for _, name := range []string{"shop", "other"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	installPolicies(t, api)
	stack := manualStack(t, api)
	slow := stampedDeployment("shop", "api", oldHash)
	slow.Spec.Template.Spec.NodeSelector = map[string]string{"nowhere": "true"}
	pods := podsOf("nightly", oldHash)
	pods.Spec.RestartPolicy = corev1.RestartPolicyNever
	for _, object := range []client.Object{
		slow, stampedDeployment("shop", "worker", oldHash),
		&batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "nightly", Annotations: map[string]string{obsv1.AnnotationStack: "shop"},
			},
			Spec: batchv1.CronJobSpec{
				Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: pods}},
			},
		},
	} {
		testenv.Create(t, api, object)
	}
	waitAvailable(t, api, "worker")
	give(t, api, stack, newHash)
	testenv.Create(t, api, stampedDeployment("shop", "current", newHash))
	waitAvailable(t, api, "current")

	out, _, code := kubectlObstack(t, reader(t, plane, api), "rollout", "shop", "-n", "shop")
	if want := "you may not change Deployments in namespace shop"; code != exitWrong || !strings.Contains(out, want) {
		t.Errorf("rollout without the right to patch ends with %d, and prints no %q:\n%s", code, want, out)
	}
	session(t, plane.Kubeconfig, "action/rollout-dry.txt", "rollout shop -n shop --dry-run")

	// The first one does not roll out, and keeps the other waiting.
	_, errs, code := kubectlObstack(t, plane.Kubeconfig, "rollout", "shop", "-n", "shop", "--timeout=4s")
	if code != exitWrong || !strings.Contains(errs, "start it again to go on") {
		t.Errorf("when the time is over, rollout ends with %d and says %q", code, errs)
	}
	if got := versions(t, api, "api", "worker"); !slices.Equal(got, []string{newHash, oldHash}) {
		t.Errorf("api and worker have the versions %v, want the new one and the old one", got)
	}
	testenv.Change(t, api, slow, func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector = nil })
	session(t, plane.Kubeconfig, "action/rollout.txt", "rollout shop -n shop")
	session(t, plane.Kubeconfig, "action/rolled-out.txt", "rollout shop -n shop", "rollout shop -n shop -o name")
	if got := versions(t, api, "api", "worker"); !slices.Equal(got, []string{newHash, newHash}) {
		t.Errorf("api and worker have the versions %v, want the new one", got)
	}
	guest(t, plane, api)
	refusals(t, plane, api, stack)
}

// guest is a workload in another namespace, where the settings are not yet.
func guest(t *testing.T, plane *testenv.ControlPlane, api client.Client) {
	t.Helper()
	testenv.Create(t, api, stampedDeployment("other", "guest", oldHash))
	out, _, code := kubectlObstack(t, plane.Kubeconfig, "rollout", "shop", "-n", "shop")
	golden(t, "action/rollout-missing.txt", out)
	if code != exitWrong {
		t.Errorf("rollout ends with %d where a namespace lacks the settings, want %d", code, exitWrong)
	}
	testenv.Create(t, api, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: obsv1.SettingsName("shop", "shop", newHash)},
	})
	session(t, plane.Kubeconfig, "action/rollout-guest.txt", "rollout shop -n shop")
}

// refusals are the stacks for which rollout does nothing.
func refusals(t *testing.T, plane *testenv.ControlPlane, api client.Client, stack *obsv1.ObservabilityStack) {
	t.Helper()
	for says, edit := range map[string]func(*obsv1.ObservabilityStack){
		"is paused": func(s *obsv1.ObservabilityStack) { s.Spec.Suspend = true },
		"rolls out by itself": func(s *obsv1.ObservabilityStack) {
			s.Spec.Suspend, s.Spec.Injection.Rollout.Policy = false, obsv1.RolloutAutomatic
		},
	} {
		testenv.Change(t, api, stack, edit)
		wantFailure(t, plane.Kubeconfig, says, "rollout", "shop", "-n", "shop")
	}
	testenv.Change(t, api, stack, func(s *obsv1.ObservabilityStack) {
		s.Spec.Suspend, s.Spec.Injection.Rollout.Policy = false, obsv1.RolloutManual
	})
	wantFailure(t, plane.Kubeconfig, "has not looked at the newest spec", "rollout", "shop", "-n", "shop")
	stack.Status = obsv1.ObservabilityStackStatus{ObservedGeneration: stack.Generation}
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, plane.Kubeconfig, "has no settings for workloads", "rollout", "shop", "-n", "shop")
}

func wantFailure(t *testing.T, kubeconfig, says string, args ...string) {
	t.Helper()
	wantResults(t, kubeconfig, []result{{args, says, exitWrong}})
}

func waitAvailable(t *testing.T, api client.Client, names ...string) {
	t.Helper()
	for _, name := range names {
		testenv.Poll(t, func(ctx context.Context) string {
			deployment := &appsv1.Deployment{}
			if err := api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: name}, deployment); err != nil {
				return err.Error()
			}
			if deployment.Status.AvailableReplicas == 0 {
				return "Deployment " + name + " is not available"
			}
			return ""
		})
	}
}

// versions of the settings that Deployments have.
func versions(t *testing.T, api client.Client, names ...string) (all []string) {
	t.Helper()
	for _, name := range names {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		testenv.Read(t, api, deployment)
		all = append(all, deployment.Spec.Template.Labels[obsv1.StampVersion])
	}
	return all
}
