// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// startControllerManager starts kube-controller-manager and waits until it has
// made the first service account, without which no Pod is admitted.
func (c *ControlPlane) startControllerManager(ctx context.Context) error {
	p, err := c.startComponent(ControllerManager, "system:kube-controller-manager",
		"--service-account-private-key-file="+c.guard.path("apiserver", serviceAccountKey),
		"--root-ca-file="+c.guard.path("apiserver", rootCA),
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000",
		// Simulated nodes are well, however late KWOK says so; their Pods must not become unready.
		"--node-monitor-grace-period=24h")
	if err != nil {
		return err
	}
	api, err := client.New(c.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("connect to the control plane: %w", err)
	}
	err = p.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		account := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "default"}
		return api.Get(ctx, account, &corev1.ServiceAccount{}) == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the controller manager: %w", err)
	}
	return nil
}

// startScheduler starts kube-scheduler, which has nothing to wait for: Pods wait for it.
func (c *ControlPlane) startScheduler() error {
	_, err := c.startComponent(Scheduler, "system:kube-scheduler",
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000")
	return err
}

// startNodes starts KWOK and n nodes, and waits until they are ready.
func (c *ControlPlane) startNodes(ctx context.Context, n int) error {
	p, err := c.startComponent(KWOK, "kwok", "--config="+filepath.Join(c.Assets, kwokStages),
		"--manage-all-nodes=true", "--cidr=10.244.0.0/16", "--node-ip=127.0.0.1")
	if err != nil {
		return err
	}
	api, err := client.New(c.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("connect to the control plane: %w", err)
	}
	for i := range n {
		if err := api.Create(ctx, node(i)); err != nil {
			return fmt.Errorf("make a simulated node: %w", err)
		}
	}
	err = p.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		nodes := &corev1.NodeList{}
		if err := api.List(ctx, nodes); err != nil {
			return false, fmt.Errorf("list the simulated nodes: %w", err)
		}
		for i := range nodes.Items {
			if !ready(&nodes.Items[i]) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the simulated nodes: %w", err)
	}
	return nil
}

// node is a simulated node, large enough that Pods are limited by number alone.
func node(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i+1)
	room := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("1000"),
		corev1.ResourceMemory:           resource.MustParse("4Ti"),
		corev1.ResourceEphemeralStorage: resource.MustParse("4Ti"),
		corev1.ResourcePods:             resource.MustParse("10000"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room},
	}
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// startComponent starts a program of the control plane as a user of its own, whose
// name managedFields and audit logs show, and who may do everything.
func (c *ControlPlane) startComponent(program Program, user string, flags ...string) (*Process, error) {
	kubeconfig, err := c.User(user, "system:masters")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(c.Assets, string(program)), append(flags, "--kubeconfig="+kubeconfig)...)
	// KWOK would otherwise read and write its settings in the user's home.
	cmd.Env = append(os.Environ(), "HOME="+c.guard.path())
	return c.StartProcess(string(program), cmd)
}
