// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// fleet lists the Pods of a workload page by page, as many as there are, and its revisions, each a
// page. Of a page of objects with 1.5 MiB each, the operator's memory has room for 20.
type fleet struct {
	client.Reader
	pages     [][]corev1.Pod
	read      int
	revisions []revision
}

func (f *fleet) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if limit := (&client.ListOptions{}).ApplyOptions(opts).Limit; limit == 0 || limit > 20 {
		return fmt.Errorf("a page of %d objects", limit)
	}
	switch list := list.(type) {
	case *corev1.PodList:
		list.Items = f.pages[f.read]
		if f.read++; f.read < len(f.pages) {
			list.Continue = "more"
		}
	case *metav1.PartialObjectMetadataList:
		next := f.next(list)
		next.meta.Annotations = map[string]string{revisionAnnotation: strconv.FormatInt(next.number, 10)}
		list.Items = []metav1.PartialObjectMetadata{{ObjectMeta: next.meta}}
	case *appsv1.ControllerRevisionList:
		next := f.next(list)
		list.Items = []appsv1.ControllerRevision{{ObjectMeta: next.meta, Revision: next.number}}
	}
	return nil
}

// next revision; there is always one more page than there are.
func (f *fleet) next(list client.ObjectList) (next revision) {
	if len(f.revisions) > 0 {
		next, f.revisions = f.revisions[0], f.revisions[1:]
		list.SetContinue("more")
	}
	return next
}

// controlledBy is the metadata of what a workload controls.
func controlledBy(w *policy.Workload, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.Namespace, Name: name, Labels: labels, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: w.Kind, Name: w.Name, UID: w.UID, Controller: new(true)},
	}}
}

func withBundle(kind string) *policy.Workload {
	w := &policy.Workload{TypeMeta: metav1.TypeMeta{Kind: kind}, Spec: policy.WorkloadSpec{
		Template: &policy.Template{Metadata: policy.TemplateMeta{Labels: map[string]string{obsv1.StampPython: "0a"}}},
	}}
	w.Namespace, w.Name, w.UID = "shop", "agent", "1"
	return w
}

// TestPodsAreThoseOfTheNewestRevision, whatever their controllers call it, also one that came back,
// and not those of a workload that had its name before.
func TestPodsAreThoseOfTheNewestRevision(t *testing.T) {
	for kind, label := range map[string]string{
		policy.KindDaemonSet: "6c9f", policy.KindStatefulSet: "agent-6c9f", policy.KindDeployment: "6c9f",
	} {
		w := withBundle(kind)
		pod := func(revision string) corev1.Pod {
			meta := controlledBy(w, "agent-"+revision+"-x", map[string]string{"controller-revision-hash": revision})
			if kind == policy.KindDeployment {
				meta.Labels = map[string]string{"pod-template-hash": revision}
				meta.OwnerReferences[0].Kind, meta.OwnerReferences[0].Name = "ReplicaSet", "agent-"+revision
			}
			return corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{
				{VolumeMounts: []corev1.VolumeMount{{MountPath: policy.PythonFolder}}},
			}}}
		}
		ready, before := pod(label), *w
		ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		before.UID = "0"
		all := &fleet{
			pages: [][]corev1.Pod{{pod(strings.Replace(label, "6c9f", "5b8d", 1)), ready}},
			revisions: []revision{
				{controlledBy(w, "agent-5b8d", nil), 9},
				{controlledBy(w, "agent-6c9f", map[string]string{"controller-revision-hash": label}), 10},
				{controlledBy(w, "agent-4a7c", nil), 8},
				{controlledBy(&before, "agent-5b8d", nil), 11},
			},
		}
		c := &policy.Candidate{Workload: w}
		pods, err := (&Injector{Live: all}).pythonPods(t.Context(), labelled{}, []*policy.Candidate{c}, time.Now())
		if got := pods[c.Key()]; err != nil || len(got) != 1 || !got[0].Ready {
			t.Errorf("%s: the Pods are %+v, %v; want the one that is ready", kind, got, err)
		}
	}
}

// A DaemonSet of thousands of nodes, one of which is away, is not available for as long.
func TestPodsAreReadUntilOneWorks(t *testing.T) {
	agent := withBundle(policy.KindDaemonSet)
	pod := func(ready corev1.ConditionStatus) corev1.Pod {
		p := corev1.Pod{ObjectMeta: controlledBy(agent, "agent-0", map[string]string{"controller-revision-hash": "6c9f"})}
		p.Spec.Containers = []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{MountPath: policy.PythonFolder}}}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	away, works := pod(corev1.ConditionFalse), pod(corev1.ConditionTrue)
	for name, tc := range map[string]struct {
		pages [][]corev1.Pod
		want  int
	}{
		"one works":  {[][]corev1.Pod{{away}, {away, works}, {works}, {works}}, 2},
		"none works": {[][]corev1.Pod{{away}, {away}, {away}}, 3},
	} {
		newest := controlledBy(agent, "agent-6c9f", map[string]string{"controller-revision-hash": "6c9f"})
		all := &fleet{pages: tc.pages, revisions: []revision{{newest, 1}}}
		c := &policy.Candidate{Workload: agent}
		pods, err := (&Injector{Live: all}).pythonPods(t.Context(), labelled{}, []*policy.Candidate{c}, time.Now())
		if err != nil || len(pods[c.Key()]) == 0 || all.read != tc.want {
			t.Errorf("%s: %d Pods of %d pages, %v; want %d pages", name, len(pods[c.Key()]), all.read, err, tc.want)
		}
	}
}

// The controller of StatefulSets waits for a Pod to get ready before it replaces it.
func TestOwnersOfStatefulSetsAreToDeletePods(t *testing.T) {
	for kind, want := range map[string]bool{
		policy.KindStatefulSet: true, policy.KindDeployment: false, policy.KindDaemonSet: false,
	} {
		c := &policy.Candidate{Workload: &policy.Workload{TypeMeta: metav1.TypeMeta{Kind: kind}}}
		c.Break(policy.Withdrawal{Cause: policy.CauseExited, ExitCode: new(int32(3))})
		got := withdrawn(policy.Patch{Candidate: c})
		if !strings.Contains(got, "exit code 3: it is taken off") || strings.HasSuffix(got, "delete them") != want {
			t.Errorf("the owner of a %s reads %q", kind, got)
		}
	}
}
