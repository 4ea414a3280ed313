// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// explain logs what somebody needs to see who was not there.
func (c *cluster) explain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stack := &obsv1.ObservabilityStack{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "shop"}, stack); err == nil {
		t.Log("the stack:\n" + conditions(stack))
	}
	deployments := &appsv1.DeploymentList{}
	if err := c.List(ctx, deployments); err == nil {
		for _, one := range deployments.Items {
			t.Logf("Deployment %s/%s: %d of %d Pods are ready", one.Namespace, one.Name, one.Status.ReadyReplicas,
				one.Status.Replicas)
		}
	}
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods); err != nil {
		t.Log(err)
	}
	for _, pod := range pods.Items {
		if slices.ContainsFunc(pod.Status.Conditions, func(one corev1.PodCondition) bool {
			return one.Type == corev1.PodReady && one.Status == corev1.ConditionTrue
		}) && pod.Namespace != operatorNamespace {
			continue
		}
		for _, status := range pod.Status.ContainerStatuses {
			t.Logf("Pod %s/%s, container %s: %+v", pod.Namespace, pod.Name, status.Name, status.State)
			t.Log(c.log(ctx, pod, status.Name))
		}
	}
}

// log is the end of what a container logged.
func (c *cluster) log(ctx context.Context, pod corev1.Pod, container string) string {
	address := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s/log?tailLines=30&container=%s",
		strings.TrimSuffix(c.config.Host, "/"), pod.Namespace, pod.Name, container)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err.Error()
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(response.Body)
	return content.String() + text(err)
}

// conditions are those of a stack, one a line.
func conditions(stack *obsv1.ObservabilityStack) string {
	var lines strings.Builder
	for _, one := range stack.Status.Conditions {
		fmt.Fprintf(&lines, "%s %s %s: %s\n", one.Type, one.Status, one.Reason, one.Message)
	}
	return lines.String()
}
