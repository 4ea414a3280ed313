// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// marks are in every secret of the cluster of markSecrets. The last one is short, and that of a
// login.
var marks = []string{"marked-secret", "marked-plain", "hunt3r", "bWFya2VkL"}

// wantNoMarks searches texts for the secrets of the cluster.
func wantNoMarks(t *testing.T, what string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		for _, mark := range marks {
			if i := strings.Index(text, mark); i >= 0 {
				t.Errorf("%s: %s shows a secret: ...%s...", what, name, text[max(0, i-100):min(len(text), i+100)])
			}
		}
	}
}

// markSecrets fills a cluster with secrets: in Secrets, variables, commands, annotations, events
// and the status of a stack.
func markSecrets(t *testing.T, api client.Client) {
	t.Helper()
	for _, name := range []string{"shop", "obstack-system"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	createStack(t, api, "broken")
	createStack(t, api, "healthy")
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "broken"}}
	testenv.Read(t, api, stack)
	stack.Annotations = map[string]string{
		corev1.LastAppliedConfigAnnotation: `{"a": "marked-plain"}`, "example.com/token": "marked-plain",
	}
	status := stack.Status
	if err := api.Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	stack.Status = status
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string]string{
		"shop-redis":  {"url": "redis://:marked-secret-of-redis@redis:6379/0", "password": "hunt3r"},
		"shop-sentry": {"dsn": "https://marked-secret-of-sentry@sentry.invalid/1"},
		"shop-key":    {"key.pem": "-----BEGIN KEY-----\nmarked-secret-of-tls\n-----END KEY-----\n"},
	} {
		testenv.Create(t, api, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, StringData: data,
		})
	}
	testenv.Create(t, api, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api", Labels: map[string]string{"app": "api"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "api"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	})
	testenv.Create(t, api, markedDeployment("shop", "api", map[string]string{obsv1.AnnotationStack: "broken"}))
	operator := markedDeployment("obstack-system", "obstack", nil)
	operator.Labels = map[string]string{"app.kubernetes.io/part-of": "obstack", "app.kubernetes.io/name": "obstack"}
	operator.Spec.Template.Spec.Containers[0].Args = []string{
		"--sentry=https://marked-plain@sentry.invalid/1?a=marked-plain",
	}
	testenv.Create(t, api, operator)
	createMarkedPods(t, api)
	testenv.Create(t, api, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: "broken.1"},
		InvolvedObject: corev1.ObjectReference{APIVersion: obsv1.GroupVersion.String(), Namespace: "shop", Name: "broken"},
		Message: "the broker redis://:marked-plain@redis:6379/0?password=marked-plain is away: hunt3r, " +
			"marked-secret-of-tls, bWFya2VkLXNlY3JldC1vZi10bHM=",
	})
}

// createMarkedPods makes one of the application and one of the operator, whose container restarted.
func createMarkedPods(t *testing.T, api client.Client) {
	t.Helper()
	for _, pod := range []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-0"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system", Name: "obstack-0", Labels: map[string]string{
			"app.kubernetes.io/part-of": "obstack",
		}}},
	} {
		deployment := markedDeployment(pod.Namespace, "any", map[string]string{obsv1.AnnotationStack: "broken"})
		pod.Annotations, pod.Spec = deployment.Annotations, deployment.Spec.Template.Spec
		pod.Spec.AutomountServiceAccountToken = new(false)
		testenv.Create(t, api, pod)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "api", RestartCount: 1}}
		if err := api.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
}

func markedDeployment(namespace, name string, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	all := map[string]string{"example.com/password": "marked-plain", corev1.LastAppliedConfigAnnotation: "marked-plain"}
	maps.Copy(all, annotations)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: all},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: all},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "api", Image: "shop", Command: []string{"celery", "-A", "shop", "worker"},
					Args: []string{"--broker=redis://:marked-plain@redis/0"},
					Env: []corev1.EnvVar{
						{Name: "PASSWORD", Value: "marked-plain"}, {Name: "SENTRY_DSN", Value: "https://marked-plain@sentry.invalid/1"},
						{Name: "CELERY_BROKER_URL", Value: "redis://:marked-plain@redis/0"},
					},
				}}},
			},
		},
	}
}

// commandLines of every command; their files are in a directory.
func commandLines(t *testing.T, dir string) map[string][][]string {
	t.Helper()
	stack := filepath.Join(dir, "stack.yaml")
	text, err := os.ReadFile(filepath.Join("testdata", "status", "broken.yaml"))
	if err == nil {
		err = os.WriteFile(stack, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return map[string][][]string{
		"status":         {{"broken"}, {"-o", "wide"}, {"-o", "json"}, {"-A", "-o", "yaml"}},
		"explain":        {{"api-0"}, {"deployment/api"}, {"deployment/api", "-o", "json"}, {"api-0", "-o", "yaml"}},
		"render":         {{"-f", stack}},
		"diff":           {{"-f", stack}},
		"doctor":         {{}, {"-o", "wide"}, {"-o", "json"}},
		"verify":         {{"broken", "--no-pod", "--timeout=10s"}},
		"init":           {{"--from-cluster"}},
		"dashboard":      {{"broken", "--no-open"}, {"broken", "--no-open", "--url", "http://127.0.0.1:1"}},
		"support-bundle": {{"-o", filepath.Join(dir, "bundle.tar.gz")}},
		"pause":          {{"broken", "--dry-run=server"}, {"broken"}},
		"resume":         {{"broken"}},
		"rollout":        {{"healthy", "--dry-run=server"}, {"healthy"}},
		"release":        {{"deployment/api"}},
		"completion":     {{}},
		"help":           {{}},
	}
}

// TestNoCommandShowsASecret runs every command on a cluster full of secrets, and searches all that
// it writes.
func TestNoCommandShowsASecret(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	markSecrets(t, api)
	dir := t.TempDir()
	lines := commandLines(t, dir)
	for _, kubeconfig := range []string{plane.Kubeconfig, reader(t, plane, api)} {
		for _, command := range newCommand(genericiooptions.NewTestIOStreamsDiscard()).Commands() {
			name := command.Name()
			if lines[name] == nil {
				t.Errorf("it does not run %s: add a line to the table", name)
			}
			for _, args := range lines[name] {
				line := slices.Concat([]string{name, "-n", "shop"}, args)
				out, errs, code := kubectlObstack(t, kubeconfig, line...)
				if code == exitUsage {
					t.Errorf("%v is no command line: %s", line, errs)
				}
				wantNoMarks(t, strings.Join(line, " "), map[string]string{"the output": out, "the error": errs})
			}
		}
		archive, err := os.ReadFile(filepath.Join(dir, "bundle.tar.gz")) // #nosec G304 -- of the test
		if err != nil {
			t.Fatal(err)
		}
		files, _ := unpackBundle(t, archive)
		wantNoMarks(t, "the archive", files)
		if err := os.Remove(filepath.Join(dir, "bundle.tar.gz")); err != nil {
			t.Fatal(err)
		}
	}
}
