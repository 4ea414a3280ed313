// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// operatorNamespace is where the chart goes.
const operatorNamespace = "obstack-system"

// install installs everything, in the order in which people would.
func (c *cluster) install(ctx context.Context) error {
	begin := time.Now()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"making images and loading them", c.loadImages},
		{"installing prometheus-operator's definitions", c.applyDefinitions},
		{"installing prometheus-operator, Prometheus and Bugsink", c.applyBackends},
		{"installing the chart", c.helmInstall},
		{"creating projects in Bugsink", c.createProjects},
		{"creating the application and its stack", c.applyShop},
	} {
		say("%s", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	say("installed everything in %.0f s", time.Since(begin).Seconds())
	return nil
}

// apply applies the objects of a file of testdata, or of another one.
func (c *cluster) apply(ctx context.Context, file string) error {
	objects, err := testenv.Objects(file)
	if err != nil {
		return err
	}
	for _, object := range objects {
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("e2e"), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// definitions are prometheus-operator's, of its own module.
func definitions(ctx context.Context) ([]string, error) {
	root, err := testenv.Root()
	if err != nil {
		return nil, err
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/prometheus-operator/prometheus-operator")
	list.Dir = filepath.Join(root, "hack/integration/prometheus-operator")
	dir, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("find the module of prometheus-operator: %w", err)
	}
	return filepath.Glob(strings.TrimSpace(string(dir)) + "/example/prometheus-operator-crd/*.yaml")
}

func (c *cluster) applyDefinitions(ctx context.Context) error {
	files, err := definitions(ctx)
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("there are none"))
	}
	for _, file := range files {
		if err := c.apply(ctx, file); err != nil {
			return err
		}
	}
	return c.served(ctx, "monitoring.coreos.com/v1", "Prometheus")
}

// served waits until the API server serves a kind whose definition was created before.
func (c *cluster) served(ctx context.Context, apiVersion, kind string) error {
	return await(ctx, "the API server to serve "+kind, limit, func(ctx context.Context) string {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(apiVersion)
		list.SetKind(kind + "List")
		return text(c.List(ctx, list))
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c *cluster) applyBackends(ctx context.Context) error {
	for _, file := range []string{"monitoring.yaml", "errors.yaml"} {
		if err := c.apply(ctx, "testdata/"+file); err != nil {
			return err
		}
	}
	return nil
}

// helm runs helm, as pinned in hack/tools, on the release "obstack".
func (c *cluster) helm(ctx context.Context, command string, args ...string) error {
	program, err := testenv.Tool(ctx, "helm")
	if err != nil {
		return err
	}
	args = append([]string{command, "obstack", "--namespace", operatorNamespace, "--kubeconfig", c.kubeconfig}, args...)
	if output, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w\n%s", command, err, output)
	}
	return nil
}

func (c *cluster) helmInstall(ctx context.Context) error {
	err := c.helm(ctx, "install", "../../charts/obstack", "--create-namespace", "--values", "testdata/values.yaml",
		"--wait", "--timeout", limit.String())
	return errors.Join(err, c.served(ctx, obsv1.GroupVersion.String(), "ObservabilityStack"))
}

// createProjects creates two projects and keeps their DSNs.
func (c *cluster) createProjects(ctx context.Context) error {
	const api = "/api/canonical/0"
	var team struct{ ID string }
	if err := await(ctx, "Bugsink", 2*time.Minute, func(ctx context.Context) string {
		return text(c.ask(ctx, tracker, http.MethodPost, api+"/teams/", map[string]string{"name": "shop"}, &team))
	}); err != nil {
		return err
	}
	for name, dsn := range map[string]*string{"shop": &c.dsn, "other": &c.other} {
		var created struct{ ID string }
		body := map[string]string{"name": name, "team": team.ID}
		if err := c.ask(ctx, tracker, http.MethodPost, api+"/projects/", body, &created); err != nil {
			return err
		}
		var project struct{ DSN string }
		if err := c.ask(ctx, tracker, http.MethodGet, api+"/projects/"+created.ID+"/", nil, &project); err != nil {
			return err
		}
		*dsn = project.DSN
	}
	return nil
}

func (c *cluster) applyShop(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	return errors.Join(c.Create(ctx, namespace), c.Create(ctx, c.secret()),
		c.apply(ctx, "testdata/stack.yaml"), c.apply(ctx, "testdata/shop.yaml"))
}

// secret has the DSN of the application.
func (c *cluster) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-sentry"},
		StringData: map[string]string{"dsn": c.dsn},
	}
}

// remove removes what install made, the stack first, while there is an operator to release it.
func (c *cluster) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var failures []error
	removeAll := func(objects []*unstructured.Unstructured) {
		for _, object := range slices.Backward(objects) {
			failures = append(failures, client.IgnoreNotFound(c.Delete(ctx, object)))
		}
	}
	stack, err := testenv.Objects("testdata/stack.yaml")
	failures = append(failures, err)
	removeAll(stack)
	failures = append(failures, await(ctx, "the stack to go", limit, func(ctx context.Context) string {
		if err := c.Get(ctx, client.ObjectKeyFromObject(stack[0]), stack[0]); !apierrors.IsNotFound(err) {
			return "it is there: " + text(err)
		}
		return ""
	}), c.helm(ctx, "uninstall", "--wait"))
	files, err := definitions(ctx)
	failures = append(failures, err)
	for _, file := range append(files, "testdata/errors.yaml", "testdata/monitoring.yaml",
		"../../config/crd/bases/obstack.dev_observabilitystacks.yaml") {
		objects, err := testenv.Objects(file)
		failures = append(failures, err)
		removeAll(objects)
	}
	for _, name := range []string{"shop", operatorNamespace} {
		failures = append(failures,
			client.IgnoreNotFound(c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})))
	}
	return errors.Join(failures...)
}

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
			t.Logf("Deployment %s/%s: %d of %d Pods are ready", one.Namespace, one.Name, one.Status.ReadyReplicas, *one.Spec.Replicas)
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
