// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/controlplane"
)

// patience is how long the tests wait for something that takes a second on an idle machine.
const patience = 2 * time.Minute

// TestControlPlane goes through the life of one control plane, because starting one takes seconds.
func TestControlPlane(t *testing.T) {
	cp, err := controlplane.Start(t.Context(), controlplane.Options{
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

func connect(t *testing.T, cp *controlplane.ControlPlane) client.Client {
	t.Helper()
	if err := apiextensionsv1.AddToScheme(clientgoscheme.Scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(cp.Config, client.Options{})
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
		if err := api.Get(t.Context(), client.ObjectKey{Name: name}, &apiextensionsv1.CustomResourceDefinition{}); err != nil {
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
	poll(t, func(ctx context.Context) (bool, error) {
		err := api.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)
		return deployment.Status.AvailableReplicas == replicas, err
	})
}

func restart(t *testing.T, cp *controlplane.ControlPlane, api client.Client) {
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept", Namespace: "default"}}
	if err := api.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if err := cp.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(kept), kept); err == nil {
		t.Error("a stopped API server answers")
	}
	if err := cp.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(kept), kept); err != nil {
		t.Error(err)
	}
	// The other programs must have survived it, too.
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	if err := api.Patch(t.Context(), web, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`))); err != nil {
		t.Fatal(err)
	}
	poll(t, func(ctx context.Context) (bool, error) {
		err := api.Get(ctx, client.ObjectKeyFromObject(web), web)
		return web.Status.AvailableReplicas == 5, err
	})
}

func failing(t *testing.T, cp *controlplane.ControlPlane) {
	p, err := cp.StartProcess("failing", exec.Command("/bin/sh", "-c", "echo no such thing; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitFor(t.Context(), func(context.Context) (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error = %v, want the exit status and the end of the log", err)
	}
}

func poll(t *testing.T, condition wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, condition); err != nil {
		t.Fatal(err)
	}
}

// processIDs are those of the control plane, as its guard knows them.
func processIDs(t *testing.T, cp *controlplane.ControlPlane) map[string]int {
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
	poll(t, func(context.Context) (bool, error) {
		for _, pid := range pids {
			if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return false, nil
			}
		}
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist), nil
	})
}
