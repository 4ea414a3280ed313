// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// podWithBundle makes one of the Deployment's newest ReplicaSet.
func (w *withdrawing) podWithBundle(t *testing.T) *corev1.Pod {
	t.Helper()
	refresh(t, w.d)
	of := w.d.DeepCopy()
	of.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "obstack-python"}}
	of.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{
		Name: "obstack-python", MountPath: policy.PythonFolder,
	}}
	pod := stampedPod(t, of, w.hash(), w.stack)
	pod.Labels[obsv1.StampPython] = w.bundle
	pod.Annotations[obsv1.MarkInjected] = w.stack.Status.ConfigHash
	if err := live.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// crashes makes a Pod of the newest ReplicaSet, of which a container was restarted three times.
func (w *withdrawing) crashes(t *testing.T) {
	t.Helper()
	pod := w.podWithBundle(t)
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.clock),
	}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "api", RestartCount: 3, Image: "shop:1.4.2",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 3, Reason: "Error", Message: "the password is hunter2",
			StartedAt: metav1.NewTime(w.clock.Add(59 * time.Second)), FinishedAt: metav1.NewTime(w.clock.Add(time.Minute)),
		}},
	}}
	if err := live.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// notAvailable has a Deployment roll out, with that many old Pods.
func notAvailable(t *testing.T, d *appsv1.Deployment, old int32) {
	t.Helper()
	refresh(t, d)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1 + old, UpdatedReplicas: 1, AvailableReplicas: old, ReadyReplicas: old,
	}
	if err := live.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// withdrawing is a stack with a workload that has the bundle.
type withdrawing struct {
	*injecting
	stack  *obsv1.ObservabilityStack
	d      *appsv1.Deployment
	bundle string
	// revision is that of the newest ReplicaSet.
	revision int
}

func newWithBundle(t *testing.T, edits ...func(*obsv1.ObservabilityStackSpec)) *withdrawing {
	t.Helper()
	ns := namespace(t)
	return newWithBundleIn(t, ns, ns, edits...)
}

// newWithBundleIn has the stack in one namespace and the workload in another.
func newWithBundleIn(t *testing.T, home, other string, edits ...func(*obsv1.ObservabilityStackSpec)) *withdrawing {
	t.Helper()
	w := &withdrawing{
		injecting: newInjecting(t), stack: settingsStack(t, home, append(edits, withPython)...), revision: 8,
	}
	w.reconcileStack(t, w.stack)
	w.d = annotatedDeployment(other, "api", home+"/shop")
	create(t, w.d)
	w.reconcileStack(t, w.stack)
	refresh(t, w.d)
	if w.bundle = w.d.Spec.Template.Labels[obsv1.StampPython]; w.bundle == "" {
		t.Fatal("the workload has no bundle")
	}
	w.replicaSet(t)
	return w
}

// replicaSet makes one of the Deployment's template, as its controller does.
func (w *withdrawing) replicaSet(t *testing.T) {
	t.Helper()
	refresh(t, w.d)
	w.revision++
	hash := map[string]string{"pod-template-hash": w.hash()}
	template, controllerKind := *w.d.Spec.Template.DeepCopy(), appsv1.SchemeGroupVersion.WithKind(policy.KindDeployment)
	maps.Copy(template.Labels, hash)
	create(t, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.d.Namespace, Name: w.d.Name + "-" + w.hash(), Labels: template.Labels,
			Annotations:     map[string]string{"deployment.kubernetes.io/revision": strconv.Itoa(w.revision)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.d, controllerKind)},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: hash}, Template: template},
	})
}

// hash of the newest ReplicaSet's template.
func (w *withdrawing) hash() string { return fmt.Sprintf("5f7c%d", w.revision) }

// newWithdrawing has a Pod with the bundle crash while an old one runs.
func newWithdrawing(t *testing.T) *withdrawing {
	t.Helper()
	w := newWithBundle(t)
	notAvailable(t, w.d, 1)
	w.crashes(t)
	w.events()
	return w
}

// pass a minute later, after which the workload has that bundle.
func (w *withdrawing) pass(t *testing.T, when, want string) {
	t.Helper()
	w.clock = w.clock.Add(time.Minute)
	w.reconcileStack(t, w.stack)
	refresh(t, w.d)
	if got := w.d.Spec.Template.Labels[obsv1.StampPython]; got != want {
		t.Errorf("%s: the bundle is %q, want %q", when, got, want)
	}
}

// releases has the workload's owner write another image.
func (w *withdrawing) releases(t *testing.T) {
	t.Helper()
	w.d.Spec.Template.Spec.Containers[0].Image = "shop:1.4.3"
	if err := live.Update(t.Context(), w.d); err != nil {
		t.Fatal(err)
	}
}

// TestRolloutWithdrawsTheBundleForPython from a workload that breaks with it, keeps the rest, and
// says why. It does so also where the owner is to restart workloads.
func TestRolloutWithdrawsTheBundleForPython(t *testing.T) {
	w := newWithdrawing(t)
	other := annotatedDeployment(w.stack.Namespace, "other", "shop")
	create(t, other)
	if got := w.reconcileStack(t, w.stack).RequeueAfter; got == 0 || got > 30*time.Second {
		t.Errorf("looks again after %s, and no event comes when a container is restarted", got)
	}
	change(t, w.stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection = &obsv1.InjectionSpec{Rollout: &obsv1.RolloutSpec{Policy: obsv1.RolloutManual}}
	})
	w.pass(t, "it crashes", "")
	wantStamp(t, w.d, w.stack.Namespace+"/shop", w.stack.Status.ConfigHash)
	refresh(t, other)
	if got := other.Spec.Template.Labels[obsv1.StampPython]; got != w.bundle {
		t.Errorf("another workload has the bundle %q, want %s", got, w.bundle)
	}
	w.reconcileStack(t, w.stack)
	annotation, events := w.d.Annotations[obsv1.AnnotationPythonWithdrawn], strings.Join(w.events(), "\n")
	message := wantCondition(t, w.stack, obsv1.PythonReady, metav1.ConditionFalse, obsv1.ReasonPythonWithdrawn)
	for _, text := range []string{events, message} {
		if !strings.Contains(text, "a container exited again and again, exit code 3") {
			t.Errorf("%q does not say why", text)
		}
	}
	if !strings.Contains(annotation, `"exitCode":3`) || !strings.Contains(annotation, w.bundle) {
		t.Errorf("the workload keeps %s", annotation)
	}
	if strings.Contains(events+message+annotation, "hunter2") {
		t.Errorf("a container's text is repeated: %s\n%s\n%s", events, message, annotation)
	}
}

// TestRolloutTriesAWithdrawnBundleAgain when an image changes, and not before, whoever restarts the
// operator or the workload meanwhile.
func TestRolloutTriesAWithdrawnBundleAgain(t *testing.T) {
	w := newWithdrawing(t)
	w.pass(t, "it crashes", "")
	settle(t, w.d)
	clock := w.clock
	w.injecting = newInjecting(t) // A restart.
	w.clock = clock
	w.pass(t, "nothing changed", "")
	w.d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	if err := live.Update(t.Context(), w.d); err != nil {
		t.Fatal(err)
	}
	settle(t, w.d)
	w.pass(t, "it was restarted", "")
	w.releases(t)
	settle(t, w.d)
	w.pass(t, "it has another image", w.bundle)
	if _, kept := w.d.Annotations[obsv1.AnnotationPythonWithdrawn]; kept {
		t.Error("what the workload has again is still called withdrawn")
	}
}

// TestRolloutOfASuspendedStackWithdrawsNothing, because it changes nothing.
func TestRolloutOfASuspendedStackWithdrawsNothing(t *testing.T) {
	w := newWithBundle(t)
	notAvailable(t, w.d, 0)
	w.crashes(t)
	change(t, w.stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
	w.pass(t, "it is suspended", w.bundle)
	if w.d.Annotations[obsv1.AnnotationPythonWithdrawn] != "" {
		t.Errorf("the workload was changed: %v", w.d.Annotations)
	}
}

// TestRolloutKeepsAWithdrawalThatItsOwnerDrops: a controller that writes all annotations of its
// workload knows nothing of ours.
func TestRolloutKeepsAWithdrawalThatItsOwnerDrops(t *testing.T) {
	w := newWithdrawing(t)
	w.pass(t, "it crashes", "")
	settle(t, w.d)
	for _, when := range []string{"its owner wrote it", "its owner wrote it again"} {
		w.d.Annotations = map[string]string{obsv1.AnnotationStack: "shop"}
		if err := live.Update(t.Context(), w.d); err != nil {
			t.Fatal(err)
		}
		w.pass(t, when, "")
	}
	w.releases(t)
	settle(t, w.d)
	w.pass(t, "it has another image", w.bundle)
}

// TestRolloutJudgesTheNewestTemplate: that its predecessor crashes says nothing of another image,
// before its controller saw it and after, and whether or not that lost the bundle.
func TestRolloutJudgesTheNewestTemplate(t *testing.T) {
	for name, lost := range map[string]bool{"an image that has the bundle": false, "one that lost it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWithdrawing(t)
			if lost {
				w.pass(t, "it crashes", "")
			}
			w.releases(t)
			w.pass(t, "another image", w.bundle)
			w.pass(t, "another image, which its controller has not observed", w.bundle)
			refresh(t, w.d)
			w.d.Status = appsv1.DeploymentStatus{ObservedGeneration: w.d.Generation, Replicas: 1}
			if err := live.Status().Update(t.Context(), w.d); err != nil {
				t.Fatal(err)
			}
			w.pass(t, "another image, for which there is no ReplicaSet yet", w.bundle)
			w.replicaSet(t)
			notAvailable(t, w.d, 1)
			w.pass(t, "another image, of which there is no Pod yet", w.bundle)
			w.crashes(t)
			w.pass(t, "another image crashes", "")
		})
	}
}

// TestRolloutWithdrawsFromWhatItJudged: an image that its owner writes in the same moment was not.
func TestRolloutWithdrawsFromWhatItJudged(t *testing.T) {
	w := newWithdrawing(t)
	w.fail = func(verb string, obj client.Object) error {
		if verb == "patch" && obj.GetName() == w.d.Name {
			w.fail = nil
			w.releases(t)
		}
		return nil
	}
	w.pass(t, "another image while it is withdrawn", w.bundle)
	if w.fail != nil {
		t.Error("nothing was to be written")
	}
	if events := w.events(); len(events) > 0 {
		t.Errorf("events %q, want none", events)
	}
}

// TestRolloutGivesPlacesToOthersThanOneThatFightsBack: an owner whose workload changes whenever the
// bundle is to be withdrawn from it.
func TestRolloutGivesPlacesToOthersThanOneThatFightsBack(t *testing.T) {
	w := newWithBundle(t, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection = &obsv1.InjectionSpec{Rollout: &obsv1.RolloutSpec{MaxConcurrent: 1}}
	})
	notAvailable(t, w.d, 1)
	w.crashes(t)
	other := annotatedDeployment(w.stack.Namespace, "other", "shop")
	createUnstamped(t, other)
	settle(t, other)
	tries := 0
	w.fail = func(verb string, obj client.Object) error {
		if verb == "patch" && obj.GetName() == w.d.Name {
			tries++
			refresh(t, w.d)
			w.d.Status.Conditions = []appsv1.DeploymentCondition{{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Message: strconv.Itoa(tries),
			}}
			if err := live.Status().Update(t.Context(), w.d); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	w.pass(t, "its owner fights back", w.bundle)
	w.pass(t, "its owner fights back again", w.bundle)
	wantStamp(t, other, w.stack.Namespace+"/shop", w.stack.Status.ConfigHash)
	if tries == 0 {
		t.Error("nobody tried to withdraw the bundle")
	}
	w.fail = nil
	settle(t, other)
	for range 3 {
		w.clock = w.clock.Add(time.Minute)
		w.reconcileStack(t, w.stack)
	}
	w.pass(t, "its owner gave up", "")
}

// TestRolloutJudgesNothingByAPredecessor: a Deployment of the same name, whose Pods crash and whose
// ReplicaSet has a higher number, was deleted.
func TestRolloutJudgesNothingByAPredecessor(t *testing.T) {
	w := newWithBundle(t)
	notAvailable(t, w.d, 1)
	w.crashes(t)
	remove(t, w.d)
	w.d = annotatedDeployment(w.stack.Namespace, "api", "shop")
	w.d.Spec.Template.Spec.Containers[0].Image = "shop:2.0.0"
	create(t, w.d)
	w.revision = 0
	w.replicaSet(t)
	notAvailable(t, w.d, 0)
	w.pass(t, "its predecessor crashes", w.bundle)
	w.crashes(t)
	w.pass(t, "it crashes itself", "")
}

// refuseLists has the API server refuse lists of one namespace, as where somebody took a Role away,
// and counts them.
func (f *injecting) refuseLists(namespace string) *int {
	var refused int
	f.injector.Live = interceptor.NewClient(live, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if of := (&client.ListOptions{}).ApplyOptions(opts); of.Namespace == namespace {
				refused++
				return apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no Role"))
			}
			return c.List(ctx, list, opts...)
		},
	})
	return &refused
}

// TestRolloutGoesOnBesideANamespaceThatIsNotListed: its workload keeps the bundle until it is, and
// it is asked once a minute, whatever happens elsewhere.
func TestRolloutGoesOnBesideANamespaceThatIsNotListed(t *testing.T) {
	other := namespace(t)
	accept(t, other, "env, python")
	w := newWithBundleIn(t, namespace(t), other, admitAll)
	notAvailable(t, w.d, 1)
	w.crashes(t)
	own := annotatedDeployment(w.stack.Namespace, "own", "shop")
	createUnstamped(t, own)
	refused := w.refuseLists(other)
	w.clock = w.clock.Add(time.Minute)
	for range 3 {
		again := w.reconcileStack(t, w.stack).RequeueAfter
		if again == 0 || again > 2*time.Minute {
			t.Errorf("looks again after %s, want a minute", again)
		}
		w.clock = w.clock.Add(10 * time.Second)
		settle(t, w.d) // A container that crashes runs now and then.
		w.reconcileStack(t, w.stack)
		notAvailable(t, w.d, 1)
	}
	if *refused != 1 {
		t.Errorf("listed %d times in half a minute, want once", *refused)
	}
	wantStamp(t, own, w.stack.Namespace+"/shop", w.stack.Status.ConfigHash)
	wantBundle(t, w.d, w.bundle)
	w.injector.Live = w.Settings.Live
	w.pass(t, "its Pods are listed", "")
}

// TestRolloutKeepsAVerdictWhilePodsAreNotListed, such as for a workload that waits for a place.
func TestRolloutKeepsAVerdictWhilePodsAreNotListed(t *testing.T) {
	w := newWithdrawing(t)
	w.fail = func(verb string, obj client.Object) error {
		if verb == "patch" && obj.GetName() == w.d.Name {
			return apierrors.NewServiceUnavailable("not now")
		}
		return nil
	}
	w.pass(t, "the API server takes no patch", w.bundle)
	w.fail = nil
	w.refuseLists(w.stack.Namespace)
	w.pass(t, "its Pods are not listed", "")
}

// TestRolloutKeepsTheBundleOfWhatWorkedWithIt: where its Pods are made anew and crash, such as in
// the morning before their database is there, it is not the bundle, whoever restarts the operator.
func TestRolloutKeepsTheBundleOfWhatWorkedWithIt(t *testing.T) {
	w := newWithBundle(t)
	pod := w.podWithBundle(t)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "api", State: corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.clock)},
	}}}
	if err := live.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	settle(t, w.d)
	w.pass(t, "it runs for a minute", w.bundle)
	if works, set := w.d.Annotations[obsv1.AnnotationPythonWorks]; set {
		t.Errorf("it works after a minute: %s", works)
	}
	w.clock = w.clock.Add(5 * time.Minute)
	w.sent.reset()
	w.pass(t, "it runs for seven minutes", w.bundle)
	works := w.d.Annotations[obsv1.AnnotationPythonWorks]
	if works == "" || w.sent.total() != 2 {
		t.Errorf("it works: %q, after the requests %v and %v; want one that reads its Pods and one that says so", works,
			w.sent.reads, w.sent.writes)
	}
	w.sent.reset()
	if w.pass(t, "nothing changes", w.bundle); w.sent.total() != 0 {
		t.Errorf("requests %v and %v for what works already", w.sent.reads, w.sent.writes)
	}

	clock := w.clock
	w.injecting = newInjecting(t) // A restart.
	w.clock = clock
	if err := live.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	notAvailable(t, w.d, 0)
	w.crashes(t)
	w.clock = w.clock.Add(time.Hour)
	w.pass(t, "its Pod is another, and crashes", w.bundle)

	w.releases(t)
	w.replicaSet(t)
	notAvailable(t, w.d, 1)
	w.pass(t, "another image, of which there is no Pod yet", w.bundle)
	w.crashes(t)
	w.pass(t, "another image crashes", "")
	if _, set := w.d.Annotations[obsv1.AnnotationPythonWorks]; set {
		t.Error("what has no bundle works with it")
	}
}
