// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// manifest of a Deployment as it lies in somebody's repository.
const manifest = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  namespace: %s
  annotations: {obstack.dev/stack: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
%s`

// rendered is the manifest with containers of these names.
func rendered(namespace string, containers ...string) string {
	var list strings.Builder
	for _, name := range containers {
		fmt.Fprintf(&list, "      - {name: %s, image: example.com/shop:1.4.2}\n", name)
	}
	return fmt.Sprintf(manifest, namespace, list.String())
}

// tool brings the Deployment with these containers to the cluster.
type tool struct {
	deploy func(t *testing.T, namespace string, containers ...string)
	// diff fails the test if the tool sees a difference; nil if it does not look for one.
	diff func(t *testing.T, namespace string, containers ...string)
}

// gitOps is what a tool goes through with a workload that is injected.
func (c *cluster) gitOps(with tool) func(t *testing.T) {
	return func(t *testing.T) {
		namespace := c.namespace(t)
		stack := c.stack(t, namespace)
		templates := 0
		round := func(what string, another bool, containers ...string) {
			t.Helper()
			if another {
				templates++
			}
			with.deploy(t, namespace, containers...)
			c.awaitInjected(t, stack, namespace, "api", 2)
			c.awaitWorkloads(t, stack, "1/1", 0)
			c.awaitReady(t, stack)
			c.awaitComplete(t, namespace, "api")
			c.wantTemplates(t, namespace, what, templates)
			if with.diff != nil {
				with.diff(t, namespace, containers...)
			}
		}
		round("made", true, "api")
		round("repeated", false, "api")
		round("a container renamed", true, "web")
		round("a container added", true, "web", "proxy")
		round("repeated", false, "web", "proxy")
		round("a container removed", true, "proxy")

		before := stack.Status.ConfigHash
		c.rotate(t, namespace)
		testenv.Poll(t, func(ctx context.Context) string {
			if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil || stack.Status.ConfigHash == before {
				return fmt.Sprintf("the configuration's hash is the old one (%v)", err)
			}
			return ""
		})
		c.awaitInjected(t, stack, namespace, "api", 2)
		templates++
		round("repeated after the rotation", false, "proxy")
		round("repeated again", false, "proxy")
		round("all changed", true, "api", "log")
	}
}

// wantTemplates checks how many templates the Deployment has had: each has a ReplicaSet.
func (c *cluster) wantTemplates(t *testing.T, namespace, what string, want int) {
	t.Helper()
	list := &appsv1.ReplicaSetList{}
	if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	if got := len(list.Items); got != want {
		t.Fatalf("%s: %d templates so far, want %d", what, got, want)
	}
}

// kubectlApply applies with these flags.
func (c *cluster) kubectlApply(flags ...string) tool {
	command := func(name string) func(*testing.T, string, ...string) {
		return func(t *testing.T, namespace string, containers ...string) {
			t.Helper()
			c.kubectl(t, rendered(namespace, containers...), append([]string{name, "--filename=-"}, flags...)...)
		}
	}
	return tool{deploy: command("apply"), diff: command("diff")}
}

func (c *cluster) replace(t *testing.T, namespace string, containers ...string) {
	t.Helper()
	command := "replace"
	if _, err := c.deployed(t, namespace); err != nil {
		command = "create"
	}
	c.kubectl(t, rendered(namespace, containers...), command, "--filename=-")
	d, err := c.deployed(t, namespace)
	if err != nil {
		t.Fatal(err)
	}
	// What is replaced has no history, so the stamp itself is looked at, right after the request.
	if d.Spec.Template.Labels[obsv1.StampStack] != "shop" {
		t.Errorf("the template has the labels %v after it was replaced, want the stamp among them", d.Spec.Template.Labels)
	}
}

func (c *cluster) deployed(t *testing.T, namespace string) (*appsv1.Deployment, error) {
	t.Helper()
	d := &appsv1.Deployment{}
	return d, c.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "api"}, d)
}

// helmChart has the same Deployment, with the containers as a value.
const helmChart = "apiVersion: v2\nname: shop\nversion: 0.1.0\n"

func (c *cluster) helmUpgrade(t *testing.T, namespace string, containers ...string) {
	t.Helper()
	chart := t.TempDir()
	list := "{{- range .Values.containers }}\n      - {name: {{ . }}, image: example.com/shop:1.4.2}\n{{- end }}\n"
	for name, content := range map[string]string{
		"Chart.yaml":          helmChart,
		"templates/shop.yaml": fmt.Sprintf(manifest, "{{ .Release.Namespace }}", list),
	} {
		file := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	helm, err := testenv.Tool(t.Context(), "helm")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "", helm, "upgrade", "--install", "shop", chart, "--kubeconfig", c.Kubeconfig,
		"--namespace", namespace, "--set", "containers={"+strings.Join(containers, ",")+"}")
}

// kubectl runs the kubectl of the control plane's version, with that on its standard input.
func (c *cluster) kubectl(t *testing.T, input string, args ...string) {
	t.Helper()
	run(t, input, filepath.Join(c.Assets, string(testenv.Kubectl)), append(args, "--kubeconfig", c.Kubeconfig)...)
}

func run(t *testing.T, input, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = bytes.NewBufferString(input)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, output)
	}
}
