// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// fleet lists the Pods of a DaemonSet page by page, as many as there are.
type fleet struct {
	client.Reader
	pages [][]corev1.Pod
	read  int
}

func (f *fleet) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	pods := list.(*corev1.PodList)
	pods.Items = f.pages[f.read]
	if f.read++; f.read < len(f.pages) {
		pods.Continue = "more"
	}
	return nil
}

// A DaemonSet of thousands of nodes, one of which is away, is not available for as long.
func TestPodsAreReadUntilOneWorks(t *testing.T) {
	pod := func(ready corev1.ConditionStatus) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: policy.KindDaemonSet, Name: "agent", Controller: new(true),
		}}}}
		p.Spec.Containers = []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{MountPath: policy.PythonFolder}}}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	away, works := pod(corev1.ConditionFalse), pod(corev1.ConditionTrue)
	agent := &policy.Workload{TypeMeta: metav1.TypeMeta{Kind: policy.KindDaemonSet}, Spec: policy.WorkloadSpec{
		Template: &policy.Template{Metadata: policy.TemplateMeta{Labels: map[string]string{obsv1.StampPython: "0a"}}},
	}}
	agent.Namespace, agent.Name = "shop", "agent"
	for name, tc := range map[string]struct {
		pages [][]corev1.Pod
		want  int
	}{
		"one works":  {[][]corev1.Pod{{away}, {away, works}, {works}, {works}}, 2},
		"none works": {[][]corev1.Pod{{away}, {away}, {away}}, 3},
	} {
		all := &fleet{pages: tc.pages}
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
