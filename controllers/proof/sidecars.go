// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"cmp"
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/internal/taskexporter/status"
)

// grafanaLabels are on the Pods of Grafana's chart, which are looked at first.
var grafanaLabels = client.MatchingLabels{"app.kubernetes.io/name": "grafana"}

// sidecars are those of the cluster that may bring the stacks' dashboards to Grafana. All Pods are
// only looked at if those of Grafana's chart do not do.
func (c Cluster) sidecars(ctx context.Context, stacks []*obsv1.ObservabilityStack) (judge.Sidecars, error) {
	// Grafana may be in a namespace that is not watched.
	found := judge.Sidecars{Hidden: len(c.Namespaces) > 0}
	for _, labels := range []client.MatchingLabels{grafanaLabels, nil} {
		if !slices.ContainsFunc(stacks, func(stack *obsv1.ObservabilityStack) bool {
			return stack.Spec.Dashboards != nil && !found.Takes(stack)
		}) {
			break
		}
		err := c.pods(ctx, labels, func(pod *corev1.Pod) { addSidecars(&found, pod) })
		if err != nil {
			return judge.Sidecars{Hidden: true}, err
		}
	}
	return found, nil
}

// addSidecars adds the containers of a Pod that look for dashboards. Names and images are those of
// Grafana's chart, which kube-prometheus-stack has as well; images may come from a mirror.
func addSidecars(found *judge.Sidecars, pod *corev1.Pod) {
	if !runs(pod) {
		return
	}
	always := func(c corev1.Container) bool {
		return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		ends := slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool {
			return i.Name == c.Name && !always(i)
		})
		if ends || !strings.Contains(c.Image, "k8s-sidecar") && !strings.HasPrefix(c.Name, "grafana-sc-") {
			continue
		}
		if sidecar, known := sidecarOf(pod.Namespace, c); !known {
			found.Hidden = true
		} else if sidecar.Label != "" && !slices.ContainsFunc(found.Found, sidecar.Equal) {
			found.Found = append(found.Found, sidecar)
		}
	}
}

// sidecarOf says what a container looks for; no label if it is no sidecar, or not for dashboards.
// It is not known where its environment is elsewhere.
func sidecarOf(namespace string, c corev1.Container) (sidecar judge.Sidecar, known bool) {
	env := map[string]string{}
	for _, variable := range c.Env {
		if variable.ValueFrom != nil && slices.Contains([]string{"LABEL", "LABEL_VALUE", "NAMESPACE"}, variable.Name) {
			return sidecar, false
		}
		// Whoever makes a Pod could write anything.
		env[variable.Name] = status.Clean(variable.Value, 1024)
	}
	for _, other := range []string{"datasource", "alert", "notifier", "plugin", "rules"} {
		if strings.Contains(c.Name, other) {
			return sidecar, true
		}
	}
	if env["RESOURCE"] == "secret" || env["RESOURCE_NAME"] != "" {
		return sidecar, true
	}
	sidecar = judge.Sidecar{Namespace: namespace, Label: env["LABEL"], Value: env["LABEL_VALUE"]}
	if where := cmp.Or(env["NAMESPACE"], namespace); where != "ALL" {
		sidecar.Namespaces = strings.FieldsFunc(where, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return sidecar, len(c.EnvFrom) == 0 || sidecar.Label != ""
}
