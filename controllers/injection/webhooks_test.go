// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// A template may name the variables of another namespace's stack for long after its Namespace has
// ceased to accept them.
func TestPodWebhookRefusesVariablesThatTheNamespaceNoLongerAccepts(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"}}
	stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}}
	for name, tc := range map[string]struct {
		namespace, accepts string
		env, gone, want    bool
	}{
		"without variables":                 {namespace: "web", want: true},
		"with variables":                    {namespace: "web", env: true},
		"with variables of a stack gone":    {namespace: "web", env: true, gone: true},
		"with variables that it accepts":    {namespace: "web", env: true, accepts: "env", want: true},
		"with variables of its own's stack": {namespace: "team", env: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: tc.namespace, Labels: map[string]string{corev1.LabelMetadataName: tc.namespace},
				Annotations: map[string]string{obsv1.AnnotationAccept: tc.accepts},
			}}
			secret := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Namespace: tc.namespace, Name: obsv1.SettingsName("team", "shop", "abc"),
			}}
			if tc.env {
				secret.Labels = map[string]string{obsv1.LabelEnv: "true"}
			}
			reader := &shelf{stack: stack, metas: map[string]*metav1.PartialObjectMetadata{
				"Namespace": namespace, "Secret": secret,
			}}
			if tc.gone {
				reader.stack = &obsv1.ObservabilityStack{}
			}
			handler := &PodWebhook{&Reader{Main: reader, Watched: func(string) bool { return true }}}
			req := podRequest(t, podOf(1))
			req.Namespace = tc.namespace
			response := handler.Handle(t.Context(), req)
			if !response.Allowed || (len(response.Patches) > 0) != tc.want {
				t.Errorf("allowed: %t, patches: %v, want some: %t", response.Allowed, response.Patches, tc.want)
			}
			if warned := strings.Contains(strings.Join(response.Warnings, ""), "does not accept"); warned == tc.want {
				t.Errorf("warnings = %q", response.Warnings)
			}
		})
	}
}
