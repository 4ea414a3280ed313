// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// server is a real API server and what talks to it.
type server struct {
	client.Client
	plane *testenv.ControlPlane
	// filled are the namespaces of installations whose certificate was written.
	filled map[string]bool
}

// TestOnAnAPIServer shares one API server among the tests that need one. Their
// order matters: what is installed by one is removed before the next.
func TestOnAnAPIServer(t *testing.T) {
	crds, err := testenv.CertManagerCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plane, c := testenv.Start(t, testenv.Options{Log: os.Stderr, Kubectl: true, CRDPaths: crds})
	s := &server{c, plane, map[string]bool{}}
	for _, name := range []string{namespace, "team-a", "team-b"} {
		s.createNamespace(t, name)
	}
	t.Run("renders only what the API server accepts", s.acceptsEverything)
	t.Run("runs under the restricted Pod security standard", s.admitsRestrictedPods)
	t.Run("bounds what the operator's account may write", s.policyBounds)
	t.Run("kubectl apply -k", s.kubectlApply)
	t.Run("helm install, upgrade, uninstall", s.helmLifecycle)
	t.Run("works with the chart's rules", s.operatorWorks)
	t.Run("works with the rules for one namespace", s.operatorStaysInItsNamespaces)
	t.Run("works by the policies, without webhooks", s.operatorLeavesPodsToThePolicies)
}

func (s *server) acceptsEverything(t *testing.T) {
	policies, err := testenv.ServesPolicies(s.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	rendered := map[string][]*unstructured.Unstructured{
		"kustomize default":    kustomize(t, "default"),
		"kustomize prometheus": kustomize(t, "prometheus"),
	}
	for name := range valuesFiles(t) {
		rendered["chart "+name] = renderChart(t, values(name))
	}
	for name, objects := range rendered {
		for _, object := range objects {
			if strings.HasPrefix(object.GetKind(), "MutatingAdmissionPolicy") && !policies {
				continue
			}
			if err := s.dryRun(t.Context(), object); err != nil {
				t.Errorf("%s: %s %s: %v", name, object.GetKind(), path(object), err)
			}
		}
	}
	typo := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
		"metadata": map[string]any{"name": "typo", "namespace": namespace},
		"spec":     map[string]any{"selector": map[string]any{}, "endpoints": []any{map[string]any{"prot": "metrics"}}},
	}}
	if err := s.dryRun(t.Context(), typo); !apierrors.IsBadRequest(err) {
		t.Errorf("a misspelt field: %v, want it refused, or this test shows nothing", err)
	}
}

// dryRun has the API server validate an object strictly, as a new one or, if it
// is there already, as a change.
func (s *server) dryRun(ctx context.Context, object *unstructured.Unstructured) error {
	strict := client.FieldValidation(metav1.FieldValidationStrict)
	err := s.Create(ctx, object.DeepCopy(), client.DryRunAll, strict)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	live := object.DeepCopy()
	if err := s.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
		return err
	}
	changed := object.DeepCopy()
	changed.SetResourceVersion(live.GetResourceVersion())
	return s.Update(ctx, changed, client.DryRunAll, strict)
}

func (s *server) admitsRestrictedPods(t *testing.T) {
	rendered := map[string][]*unstructured.Unstructured{"kustomize": kustomize(t, "default")}
	for name := range valuesFiles(t) {
		rendered["chart "+name] = renderChart(t, values(name))
	}
	for name, objects := range rendered {
		template := only[appsv1.Deployment](t, objects, "Deployment").Spec.Template
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "operator", Namespace: namespace, Labels: template.Labels}, Spec: template.Spec,
		}
		if err := s.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if security := pod.Spec.Containers[0].SecurityContext; security.ReadOnlyRootFilesystem == nil ||
			!*security.ReadOnlyRootFilesystem {
			t.Errorf("%s: the root file system is writable", name)
		}
		pod.ResourceVersion, pod.UID, pod.Spec.SecurityContext.RunAsNonRoot = "", "", nil
		if err := s.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("%s: a Pod that may run as root: %v, want it refused, or this test shows nothing", name, err)
		}
	}
}

// kubectlApply does what docs/install.md says, client-side: the definition must
// fit into the annotation that kubectl keeps.
func (s *server) kubectlApply(t *testing.T) {
	folder := filepath.Join(root, "config", "default")
	for _, flags := range [][]string{nil, nil, {"--server-side"}} {
		s.kubectl(t, append([]string{"apply", "-k", folder}, flags...)...)
		s.certificateStays(t, namespace)
	}
	s.kubectl(t, "apply", "-k", filepath.Join(root, "config", "prometheus"))
	s.kubectl(t, "get", "obs", "--all-namespaces")
	s.kubectl(t, "--namespace", namespace, "get", "deployment/obstack-controller-manager",
		"servicemonitor/obstack-metrics")
	s.kubectl(t, "delete", "--wait=false", "-k", folder)
	for _, crd := range crds(t, kustomize(t, "default")) {
		s.waitUntilGone(t, crd)
	}
}

func (s *server) kubectl(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"--kubeconfig", s.plane.Kubeconfig}, args...)
	if _, err := output(exec.Command(filepath.Join(s.plane.Assets, string(testenv.Kubectl)), args...)); err != nil {
		t.Fatal(err)
	}
}

func (s *server) createNamespace(t *testing.T, name string) {
	t.Helper()
	restricted := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	testenv.Create(t, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: restricted}})
}

func (s *server) waitUntilGone(t *testing.T, object client.Object) {
	t.Helper()
	asked := time.Now()
	testenv.Poll(t, func(ctx context.Context) string {
		err := s.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return ""
		}
		// The API server has been seen to forget a definition that two of its controllers write to
		// while it is deleted; any change reminds it.
		if err == nil && time.Since(asked) > 10*time.Second {
			asked = time.Now()
			before := object.DeepCopyObject().(client.Object)
			object.SetAnnotations(map[string]string{"test/asked": asked.Format(time.RFC3339)})
			err = s.Patch(ctx, object, client.MergeFrom(before))
		}
		return fmt.Sprintf("%s is still there, being deleted since %v (%v)", object.GetName(),
			object.GetDeletionTimestamp(), err)
	})
}

// createStack creates a small stack, as soon as its kind is served.
func (s *server) createStack(t *testing.T, namespace, name string) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       obsv1.ObservabilityStackSpec{Environment: "production"},
	}
	testenv.Poll(t, func(ctx context.Context) string {
		if err := s.Create(ctx, stack); err != nil {
			return fmt.Sprintf("create stack %s: %v", name, err)
		}
		return ""
	})
	return stack
}

// describe gives a stack another spec, whatever the operator writes meanwhile.
func (s *server) describe(t *testing.T, stack *obsv1.ObservabilityStack, spec string) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(stack), stack); err != nil {
			return err
		}
		stack.Spec = obsv1.ObservabilityStackSpec{}
		if err := yaml.UnmarshalStrict([]byte(spec), &stack.Spec); err != nil {
			return err
		}
		return s.Update(t.Context(), stack)
	})
	if err != nil {
		t.Fatalf("change stack %s: %v", stack.Name, err)
	}
}

func (s *server) stack(t *testing.T, namespace, name string) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, stack); err != nil {
		t.Fatal(err)
	}
	return stack
}
