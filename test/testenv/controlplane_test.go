// SPDX-License-Identifier: Apache-2.0

package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// TestControlPlane goes through the life of one control plane, because starting one takes seconds.
func TestControlPlane(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	cp, err := testenv.StartControlPlane(t.Context(), testenv.Options{
		Log:      os.Stderr,
		Nodes:    2,
		CRDPaths: []string{filepath.Join("..", "crds")},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = cp.Stop()
		}
	})
	api := connect(t, cp)
	wrote, err := os.ReadDir(temporary)
	if err != nil || len(wrote) != 1 || wrote[0].Name() != filepath.Base(cp.Dir()) {
		t.Errorf("it wrote %v (%v), want nothing but the folder that is removed however it ends", wrote, err)
	}

	t.Run("definitions are installed", func(t *testing.T) { definitions(t, api) })
	t.Run("a Deployment becomes available", func(t *testing.T) { rollout(t, api) })
	t.Run("a restarted API server keeps data and credentials", func(t *testing.T) { restart(t, cp, api) })
	t.Run("a process that ends is reported with its log", func(t *testing.T) { failing(t, cp) })

	pids, dir := processIDs(t, cp), cp.Dir()
	if len(pids) != 5 {
		t.Errorf("running: %v, want the five programs of the control plane", pids)
	}
	stopped = true
	if err := cp.Stop(); err != nil {
		t.Fatal(err)
	}
	gone(t, pids, dir)
}

func connect(t *testing.T, cp *testenv.ControlPlane) client.Client {
	t.Helper()
	api, err := client.New(cp.Config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func definitions(t *testing.T, api client.Client) {
	for _, name := range []string{
		"observabilitystacks.obstack.dev",
		"servicemonitors.monitoring.coreos.com",
		"prometheusrules.monitoring.coreos.com",
		"grafanadashboards.grafana.integreatly.org",
	} {
		if err := api.Get(t.Context(), client.ObjectKey{Name: name},
			&apiextensionsv1.CustomResourceDefinition{}); err != nil {
			t.Error(err)
		}
	}
}

func rollout(t *testing.T, api client.Client) {
	labels := map[string]string{"app": "web"}
	replicas := int32(3)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
			},
		},
	}
	if err := api.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	available(t, api, deployment, replicas)
}

func restart(t *testing.T, cp *testenv.ControlPlane, api client.Client) {
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept", Namespace: "default"}}
	if err := api.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if err := cp.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(kept), kept); err == nil {
		t.Error("a stopped API server responds")
	}
	if err := cp.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(kept), kept); err != nil {
		t.Error(err)
	}
	// The other programs must have survived it, too.
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	if err := api.Patch(t.Context(), web,
		client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`))); err != nil {
		t.Fatal(err)
	}
	available(t, api, web, 5)
}

func failing(t *testing.T, cp *testenv.ControlPlane) {
	p, err := cp.StartProcess("failing", exec.Command("/bin/sh", "-c", "echo no such thing; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitFor(t.Context(), func(context.Context) (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error = %v, want the exit status and the end of the log", err)
	}
}

// available waits until a Deployment has that many available Pods.
func available(t *testing.T, api client.Client, deployment *appsv1.Deployment, want int32) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if err := api.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err != nil {
			return err.Error()
		}
		if got := deployment.Status.AvailableReplicas; got != want {
			return fmt.Sprintf("%d Pods of %s are available, want %d", got, deployment.Name, want)
		}
		return ""
	})
}

// processIDs are those of the control plane, as its guard knows them.
func processIDs(t *testing.T, cp *testenv.ControlPlane) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cp.Dir(), "pids", "*"))
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			t.Fatal(err)
		}
		pids[filepath.Base(file)] = pid
	}
	return pids
}

// gone waits until no process and no folder is left.
func gone(t *testing.T, pids map[string]int, dir string) {
	t.Helper()
	testenv.Poll(t, func(context.Context) string {
		for name, pid := range pids {
			if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return fmt.Sprintf("%s, process %d, still runs", name, pid)
			}
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			return fmt.Sprintf("the folder %s is left (%v)", dir, err)
		}
		return ""
	})
}
