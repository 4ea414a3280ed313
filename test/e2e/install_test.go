// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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
		{"installing prometheus-operator, Prometheus, Bugsink and a fake of Grafana", c.applyBackends},
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
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("e2e"),
			client.ForceOwnership)
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

// backends are the files of what stands behind the stacks.
var backends = []string{"monitoring.yaml", "errors.yaml", "grafana.yaml"}

func (c *cluster) applyBackends(ctx context.Context) error {
	for _, file := range backends {
		if err := c.apply(ctx, "testdata/"+file); err != nil {
			return err
		}
	}
	go c.refresh()
	return nil
}

// refresh brings changes of its configuration to Prometheus at once, until the tests end: a kubelet
// looks for them every minute, and whenever the Pod changes.
func (c *cluster) refresh() {
	for now := range time.Tick(2 * time.Second) {
		pods := &corev1.PodList{}
		_ = c.List(context.Background(), pods, client.InNamespace(prometheus.namespace),
			client.MatchingLabels{"app.kubernetes.io/name": "prometheus"}) // it is tried again
		for _, pod := range pods.Items {
			patch := fmt.Sprintf(`{"metadata": {"annotations": {"obstack-e2e/refreshed": %q}}}`, now.Format(time.RFC3339))
			_ = c.Patch(context.Background(), &pod, client.RawPatch(types.MergePatchType, []byte(patch)))
		}
	}
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
	for _, kind := range []string{"ObservabilityStack", "ObservabilityPlatform"} {
		err = errors.Join(err, c.served(ctx, obsv1.GroupVersion.String(), kind))
	}
	return err
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
	return errors.Join(c.Create(ctx, namespace), c.Create(ctx, c.secret()), c.apply(ctx, "testdata/platform.yaml"),
		c.apply(ctx, "testdata/stack.yaml"), c.apply(ctx, "testdata/shop.yaml"))
}

// secret has the DSN of the application.
func (c *cluster) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-sentry"},
		StringData: map[string]string{"dsn": c.dsn},
	}
}
