// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// workloads are one of every kind that runs on, each an app by the name of its
// kind, and the number of its Pods. The CronJob has one as soon as a minute begins.
func workloads(namespace, stack string) map[client.Object]int {
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	finite := template("cronjob")
	finite.Spec.RestartPolicy = corev1.RestartPolicyNever
	return map[client.Object]int{
		deployment(namespace, "deployment", stack, 2): 2,
		&appsv1.StatefulSet{
			ObjectMeta: objectMeta(namespace, "statefulset", stack),
			Spec: appsv1.StatefulSetSpec{
				Replicas: new(int32(2)), Selector: selector("statefulset"), Template: template("statefulset"),
			},
		}: 2,
		&appsv1.DaemonSet{
			ObjectMeta: objectMeta(namespace, "daemonset", stack),
			Spec:       appsv1.DaemonSetSpec{Selector: selector("daemonset"), Template: template("daemonset")},
		}: nodes,
		&batchv1.CronJob{
			ObjectMeta: objectMeta(namespace, "cronjob", stack),
			Spec: batchv1.CronJobSpec{
				Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: finite}},
			},
		}: 1,
	}
}

// templateOf is the Pod template of one of them.
func templateOf(t *testing.T, obj client.Object) *corev1.PodTemplateSpec {
	t.Helper()
	switch w := obj.(type) {
	case *appsv1.Deployment:
		return &w.Spec.Template
	case *appsv1.StatefulSet:
		return &w.Spec.Template
	case *appsv1.DaemonSet:
		return &w.Spec.Template
	case *batchv1.CronJob:
		return &w.Spec.JobTemplate.Spec.Template
	default:
		t.Fatalf("%T has no Pod template", obj)
		return nil
	}
}

func job(namespace, stack string) *batchv1.Job {
	pods := template("job")
	pods.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{ObjectMeta: objectMeta(namespace, "job", stack), Spec: batchv1.JobSpec{Template: pods}}
}

func pod(namespace, name, stack string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: objectMeta(namespace, name, stack), Spec: template(name).Spec}
	p.Labels = map[string]string{"app": name}
	return p
}

func (c *cluster) everyKind(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	all := workloads(namespace, "shop")
	all[job(namespace, "shop")] = 1
	all[pod(namespace, "pod", "shop")] = 1
	for obj := range all {
		testenv.Create(t, c.api, obj)
	}
	for obj, n := range all {
		c.awaitInjected(t, stack, namespace, obj.GetName(), n)
		if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			t.Fatal(err)
		}
		if got := obj.GetGeneration(); got > 1 {
			t.Errorf("generation of %s = %d, want it stamped when it was made", obj.GetName(), got)
		}
	}
}

func (c *cluster) precedence(t *testing.T) {
	namespace := c.namespace(t)
	ofNamespace, ofWorkload, ofTemplate := c.stack(t, namespace,
		named("of-namespace")), c.stack(t, namespace, named("of-workload")), c.stack(t, namespace, named("of-template"))
	// Of each kind there is one that its Namespace alone speaks for.
	unannotated := workloads(namespace, "")
	for obj := range unannotated {
		testenv.Create(t, c.api, obj)
	}
	testenv.Create(t, c.api, deployment(namespace, "annotated", "of-workload", 1))
	templated := deployment(namespace, "templated", "of-workload", 1)
	templated.Spec.Template.Annotations = map[string]string{obsv1.AnnotationStack: "of-template"}
	testenv.Create(t, c.api, templated)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	testenv.Change(t, c.api, ns, func(ns *corev1.Namespace) {
		ns.Labels[obsv1.LabelUseStack] = "of-namespace"
	})

	for obj, n := range unannotated {
		if _, later := obj.(*batchv1.CronJob); !later {
			c.awaitInjected(t, ofNamespace, namespace, obj.GetName(), n)
		}
	}
	c.awaitInjected(t, ofWorkload, namespace, "annotated", 1)
	c.awaitInjected(t, ofTemplate, namespace, "templated", 1)
	c.awaitWorkloads(t, ofNamespace, "4/4", 0)
	c.awaitWorkloads(t, ofWorkload, "1/1", 0)
	c.awaitWorkloads(t, ofTemplate, "1/1", 0)

	// A workload may change its mind, and what it says no more falls back.
	d := deployment(namespace, "templated", "", 1)
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = nil })
	c.awaitInjected(t, ofWorkload, namespace, "templated", 1)
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) { d.Annotations = nil })
	c.awaitInjected(t, ofNamespace, namespace, "templated", 1)
	c.awaitWorkloads(t, ofNamespace, "5/5", 0)
}

func (c *cluster) optOut(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	testenv.Change(t, c.api, ns, func(ns *corev1.Namespace) {
		ns.Labels[obsv1.LabelUseStack] = "shop"
	})
	out, in := map[string]string{obsv1.AnnotationInject: "false"}, map[string]string{obsv1.AnnotationStack: "shop"}
	both := maps.Clone(in)
	maps.Copy(both, out)
	cases := map[string]struct{ workload, template map[string]string }{
		"workload-over-namespace": {workload: out},
		"template-over-namespace": {template: out},
		"template-over-workload":  {workload: in, template: out},
		"workload-over-template":  {workload: out, template: in},
		"workload-over-itself":    {workload: both},
		"template-over-itself":    {template: both},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		d := deployment(namespace, name, "", 1)
		d.Annotations, d.Spec.Template.Annotations = cases[name].workload, cases[name].template
		testenv.Create(t, c.api, d)
	}
	lone := pod(namespace, "pod", "shop")
	maps.Copy(lone.Annotations, out)
	testenv.Create(t, c.api, lone)
	// The last that is made is one that is injected; all others were decided about before.
	testenv.Create(t, c.api, deployment(namespace, "injected", "", 1))
	c.awaitInjected(t, stack, namespace, "injected", 1)
	for name := range cases {
		c.awaitPlain(t, namespace, name, 1)
		c.wantGeneration(t, deployment(namespace, name, "", 1), 1)
	}
	c.awaitPlain(t, namespace, "pod", 1)
	c.awaitWorkloads(t, stack, "1/1", 0)

	// Opting out releases what was injected.
	d := deployment(namespace, "injected", "", 1)
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) { d.Annotations = out })
	c.awaitPlain(t, namespace, "injected", 1)
	c.awaitWorkloads(t, stack, "0/0", 0)
}
