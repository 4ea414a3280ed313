// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// runnable is an image of obstack, and how it is pulled.
type runnable struct {
	image       string
	pullSecrets []corev1.LocalObjectReference
}

// findImage is that of --image, of a task exporter here, of the operator, or of this version.
func (v *verification) findImage(ctx context.Context) (runnable, error) {
	if v.image != "" {
		return runnable{image: v.image}, nil
	}
	for i, name := range desired.ExporterNames(v.stack) {
		exporter := &appsv1.Deployment{}
		if v.stack.Spec.Tasks.Brokers[i].Image != "" ||
			v.api.Get(ctx, client.ObjectKey{Namespace: v.stack.Namespace, Name: name}, exporter) != nil {
			continue
		}
		pod := exporter.Spec.Template.Spec
		for _, container := range pod.Containers {
			if container.Name == desired.ExporterContainer {
				return runnable{container.Image, pod.ImagePullSecrets}, nil
			}
		}
	}
	if o := v.findOperator(); o != nil {
		return runnable{image: o.container.Image}, nil
	}
	if version == "dev" {
		return runnable{}, errors.New("obstack's image is not known: write --image, such as ghcr.io/obstack/obstack:TAG")
	}
	return runnable{image: "ghcr.io/obstack/obstack:" + version}, nil
}

// pod sends the events. No Service, monitor or policy selects it by its labels, and no mesh takes
// it: a sidecar would outlive it.
func (t *testEvent) pod(ids []string) *corev1.Pod {
	annotations := map[string]string{
		obsv1.AnnotationStack: t.stack.Name, "linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false",
	}
	if t.project != "" {
		annotations[obsv1.AnnotationSentryProject] = t.project
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.stack.Namespace,
			// The name is made here, so that the Pod can be deleted whatever becomes of its creation.
			Name: t.stack.Name + "-verify-" + utilrand.String(5),
			Labels: map[string]string{
				"app.kubernetes.io/name": "obstack-verify", "app.kubernetes.io/managed-by": "kubectl-obstack",
				"sidecar.istio.io/inject": "false",
			},
			Annotations: annotations,
			// What a stack controls is none of its workloads, and is not counted with them.
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: obsv1.GroupVersion.String(), Kind: stackKind.Kind, Name: t.stack.Name, UID: t.stack.UID,
				Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         new(int64(t.timeout.Seconds())),
			TerminationGracePeriodSeconds: new(int64(1)),
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			ImagePullSecrets:              t.image.pullSecrets,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "test-event", Image: t.image.image, Args: append([]string{"test-event"}, ids...),
				// What went wrong gets into the Pod's status, which needs no right to read logs.
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
					},
					Limits: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
					},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// deleteTimeout bounds how long the end of the command waits for the API server.
const deleteTimeout = 10 * time.Second

// send runs the Pod until it ends, and deletes it whatever happens.
func (t *testEvent) send(ctx context.Context, ids []string) Check {
	pod := t.pod(ids)
	defer undoes(ctx)()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		if err := t.api.Delete(ctx, pod); client.IgnoreNotFound(err) != nil {
			say(t.streams.ErrOut, "Pod %s is left: kubectl -n %s delete pod %s (%v)", pod.Name, pod.Namespace, pod.Name, err)
		}
	}()
	if err := t.api.Create(ctx, pod.DeepCopy()); err != nil {
		return t.check(metav1.ConditionUnknown, sourcePod, refusalOf(pod, err))
	}
	last := "the Pod that sends a test event has not started"
	for {
		now := &corev1.Pod{}
		err := t.api.Get(ctx, client.ObjectKeyFromObject(pod), now)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			last = readError("Pods", pod.Namespace, err).Error()
		case now.Status.Phase == corev1.PodSucceeded:
			says := "a test event was accepted"
			if len(ids) > 1 {
				says = "test events were accepted twice, and not read back: " + t.why
			}
			return t.check(metav1.ConditionTrue, sourcePod, says)
		case now.Status.Phase == corev1.PodFailed:
			return t.check(metav1.ConditionFalse, sourcePod, failureOf(now))
		default:
			last = waitingFor(now)
		}
		if !pause(ctx, time.Second) {
			return t.check(metav1.ConditionUnknown, sourcePod, last)
		}
	}
}

// refusalOf a Pod by the API server, without its name, which is another one each time.
func refusalOf(pod *corev1.Pod, err error) string {
	return "the Pod that sends a test event is refused: " + strings.ReplaceAll(err.Error(), ` "`+pod.Name+`"`, "")
}

// failureOf a Pod that ended.
func failureOf(pod *corev1.Pod) string {
	if pod.Annotations[obsv1.MarkInjected] == "" {
		return "the Pod that sends a test event started without the stack's settings, as others do here: see kubectl " +
			"obstack doctor"
	}
	for _, container := range pod.Status.ContainerStatuses {
		if ended := container.State.Terminated; ended != nil && ended.Message != "" {
			return strings.TrimPrefix(strings.TrimSpace(ended.Message), "obstack: ")
		}
	}
	why := cmp.Or(pod.Status.Message, pod.Status.Reason, "it does not say why")
	return "the Pod that sends a test event failed: " + why
}

// waitingFor says why a Pod does not run yet.
func waitingFor(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "no node takes the Pod that sends a test event: " + condition.Message
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if waiting := container.State.Waiting; waiting != nil && waiting.Reason != "ContainerCreating" {
			return fmt.Sprintf("the Pod that sends a test event does not start: %s; --image says which image it runs",
				waiting.Reason)
		}
	}
	return "the Pod that sends a test event has not ended"
}
