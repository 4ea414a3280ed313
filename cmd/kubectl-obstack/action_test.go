// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
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

// session compares what people see of some command lines, one after the other, with a golden file.
func session(t *testing.T, kubeconfig, file string, lines ...string) {
	t.Helper()
	var all strings.Builder
	for _, line := range lines {
		out, errs, code := kubectlObstack(t, kubeconfig, strings.Fields(line)...)
		fmt.Fprintf(&all, "$ kubectl obstack %s\n%s", line, out)
		if code != exitWell || errs != "" {
			t.Errorf("%s ends with %d and says %q", line, code, errs)
		}
	}
	golden(t, file, all.String())
}

// releasable are workloads that name stack shop/shop, most of them with a stamp.
func releasable(namespace string) []client.Object {
	stamped := policy.Stamp{Stack: client.ObjectKey{Namespace: "shop", Name: "shop"}, ConfigHash: "new"}.Labels()
	stamped["app"] = "a"
	named := map[string]string{obsv1.AnnotationStack: "shop/shop"}
	template := func(labels, annotations map[string]string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
			Spec: corev1.PodSpec{
				Containers:    []corev1.Container{{Name: "a", Image: "a"}},
				RestartPolicy: corev1.RestartPolicyNever,
			},
		}
	}
	deployment := func(name string, annotations map[string]string, of corev1.PodTemplateSpec) client.Object {
		of.Spec.RestartPolicy = corev1.RestartPolicyAlways
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, Template: of,
			},
		}
	}
	return []client.Object{
		deployment("stamped", named, template(stamped, nil)),
		deployment("templated", nil, template(stamped, named)),
		deployment("waiting", named, template(map[string]string{"app": "a"}, nil)),
		&batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "nightly"},
			Spec: batchv1.CronJobSpec{Schedule: "0 0 * * *", JobTemplate: batchv1.JobTemplateSpec{
				Spec: batchv1.JobSpec{Template: template(stamped, named)},
			}},
		},
		&batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "once", Annotations: named},
			Spec:       batchv1.JobSpec{Template: template(stamped, nil)},
		},
	}
}

func TestPauseResumeAndRelease(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	for _, name := range []string{"shop", "labelled"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"},
		Spec:       obsv1.ObservabilityStackSpec{Environment: "production"},
	}
	testenv.Create(t, api, stack)
	for _, object := range append(releasable("shop"), releasable("labelled")[0]) {
		testenv.Create(t, api, object)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "labelled"}}
	testenv.Change(t, api, namespace, func(n *corev1.Namespace) {
		n.Labels[obsv1.LabelUseStack], n.Labels[obsv1.LabelUseNamespace] = "shop", "shop"
	})
	limited := reader(t, plane, api)

	wantResults(t, limited, []result{
		{[]string{"pause", "shop", "-n", "shop"}, "you may not change ObservabilityStacks in namespace shop", exitWrong},
		{[]string{"release", "deployment/stamped", "-n", "shop"}, "you may not change Deployments in namespace shop",
			exitWrong},
	})
	session(t, plane.Kubeconfig, "action/dry.txt",
		"pause shop -n shop --dry-run=client", "pause shop -n shop --dry-run=server",
		"release deployment/stamped -n shop --dry-run")
	if testenv.Read(t, api, stack); stack.Spec.Suspend {
		t.Error("a dry run pauses the stack")
	}
	if claims(t, api, "shop", "stamped") == "" {
		t.Error("a dry run releases a workload")
	}
	session(t, plane.Kubeconfig, "action/pause.txt", "pause shop -n shop")
	session(t, plane.Kubeconfig, "action/paused.txt", "pause shop -n shop -o name", "release deploy/waiting -n shop",
		"release deploy/stamped -n labelled")
	session(t, plane.Kubeconfig, "action/resume.txt", "resume shop -n shop", "resume shop -n shop")
	if testenv.Read(t, api, stack); stack.Spec.Suspend {
		t.Error("the stack is paused after resume")
	}
	session(t, plane.Kubeconfig, "action/release.txt", "release deployment/stamped -n shop")
	session(t, plane.Kubeconfig, "action/released.txt", "release deployment/stamped -n shop",
		"release deploy/templated -n shop", "release cj/nightly -n shop", "release jobs/once -n shop")
	wantReleased(t, api)
	wantActionReport(t, plane.Kubeconfig)
}

// wantReleased looks at the workloads that were released.
func wantReleased(t *testing.T, api client.Client) {
	t.Helper()
	for _, name := range []string{"stamped", "templated", "waiting"} {
		if claim := claims(t, api, "shop", name); claim != "" {
			t.Errorf("Deployment %s names the stack %q after it was released", name, claim)
		}
	}
	if claim := claims(t, api, "labelled", "stamped"); claim != "" {
		t.Errorf("Deployment labelled/stamped takes its settings from %q by the label of its Namespace", claim)
	}
	nightly := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}}
	testenv.Read(t, api, nightly)
	if _, named := nightly.Spec.JobTemplate.Spec.Template.Annotations[obsv1.AnnotationStack]; named {
		t.Error("the template of the CronJob still names the stack")
	}
}

func wantActionReport(t *testing.T, kubeconfig string) {
	t.Helper()
	out, _, _ := kubectlObstack(t, kubeconfig, "pause", "shop", "-n", "shop", "-o", "json", "--dry-run=server")
	report := ActionReport{}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.DryRun != "server" ||
		len(report.Objects) != 1 || report.Objects[0].Done != donePaused {
		t.Errorf("the JSON is (%v):\n%s", err, out)
	}
	wantResults(t, kubeconfig, []result{
		{[]string{"pause"}, "one STACK is to be named", exitUsage},
		{[]string{"pause", "shop", "--dry-run=maybe"}, "must be one of none, client, server", exitUsage},
		{[]string{"pause", "nobody"}, "namespace default has no ObservabilityStack nobody", exitWrong},
		{[]string{"release", "pod/a"}, `"pod/a" names no workload`, exitUsage},
		{[]string{"release", "deployment/"}, "names no workload", exitUsage},
		{[]string{"release", "deployment/nobody"}, "namespace default has no Deployment nobody", exitWrong},
	})
}

// claims is the stack from which a Deployment takes its settings, as the operator sees it; empty if
// there is none.
func claims(t *testing.T, api client.Client, namespace, name string) string {
	t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	testenv.Read(t, api, deployment)
	of := &metav1.PartialObjectMetadata{}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	testenv.Read(t, api, space)
	of.Name, of.Labels = namespace, space.Labels
	w := &policy.Workload{ObjectMeta: deployment.ObjectMeta}
	w.Kind = policy.KindDeployment
	w.Spec.Template = &policy.Template{Metadata: policy.TemplateMeta{
		Labels: deployment.Spec.Template.Labels, Annotations: deployment.Spec.Template.Annotations,
	}}
	if claim := policy.ClaimOf(w, of); claim.Made() {
		return claim.Stack.String()
	}
	return ""
}
