// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// helmLifecycle shows what the chart promises of the CRD: it is upgraded with the
// chart, and it survives, with every stack, the end of the release.
func (s *server) helmLifecycle(t *testing.T) {
	const description = "obstack turns\n          it into ServiceMonitors"
	newer := filepath.Join(t.TempDir(), "obstack")
	if err := os.CopyFS(newer, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(newer, "files", "crds", "obstack.dev_observabilitystacks.yaml")
	changed := bytes.Replace(read(t, file), []byte(description),
		[]byte("a newer obstack turns\n          it into ServiceMonitors"), 1)
	if err := os.WriteFile(file, changed, 0o644); err != nil {
		t.Fatal(err)
	}

	s.helm(t, "install", chart)
	stack := s.createStack(t, "team-b", "shop")
	before := s.liveCRD(t)
	s.certificateStays(t, "team-a")
	s.helm(t, "upgrade", newer)
	s.certificateStays(t, "team-a")
	after := s.liveCRD(t)
	if before.GetUID() != after.GetUID() || before.GetGeneration() == after.GetGeneration() {
		t.Errorf("the upgrade took the CRD from generation %d to %d, want a change of the same object",
			before.GetGeneration(), after.GetGeneration())
	}

	s.helm(t, "uninstall")
	if kept := s.liveCRD(t); kept.GetUID() != before.GetUID() || kept.GetDeletionTimestamp() != nil {
		t.Error("uninstalling took the CRD along")
	}
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(stack), stack); err != nil {
		t.Errorf("uninstalling took a stack along: %v", err)
	}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "obstack"},
		&appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("after uninstalling, the operator: %v, want it gone", err)
	}
	s.helm(t, "install", chart)
}

// helm runs helm on the release "obstack", which lives in team-a. It installs the webhooks, unless
// the arguments say otherwise.
func (s *server) helm(t *testing.T, command string, args ...string) {
	t.Helper()
	if command != "uninstall" {
		args = append([]string{"--set", "injection.engine=Webhook"}, args...)
	}
	args = append([]string{command, "obstack", "--namespace", "team-a", "--kubeconfig", s.plane.Kubeconfig}, args...)
	if _, err := helm(t, args...); err != nil {
		t.Fatalf("helm %s: %v", command, err)
	}
}

func (s *server) liveCRD(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	live := crds(t, renderChart(t))[stacksCRD]
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
		t.Fatal(err)
	}
	return live
}
