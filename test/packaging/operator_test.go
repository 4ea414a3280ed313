// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// everyPart asks for everything that needs a right of the operator.
const everyPart = `
environment: production
metrics: {monitors: [{name: api, framework: fastapi, port: http, selector: {matchLabels: {app: shop}}}]}
tasks: {brokers: [{name: main, urlFrom: {secretKeyRef: {name: broker, key: url}}}]}
dashboards: {}
alerts: {}
`

// operatorWorks runs the operator as the installed release would: as its service
// account, with its arguments, and with no rights but those of its roles.
func (s *server) operatorWorks(t *testing.T) {
	address := testenv.FreeAddress(t)
	operator := s.startOperator(t, address)
	first := s.stackComes(t, operator, "first")
	s.metricsAreGuarded(t, operator, address)
	s.stackGoes(t, operator, first)
	s.stopOperator(t, operator)
}

// operatorStaysInItsNamespaces does the same in namespaced mode.
func (s *server) operatorStaysInItsNamespaces(t *testing.T) {
	// What was routed to the first operator conflicts with the chart, on purpose.
	s.helm(t, "upgrade", chart, "--set", "watchNamespaces={team-b}", "--force-conflicts")
	s.createStack(t, "team-a", "ignored")
	operator := s.startOperator(t, testenv.FreeAddress(t))
	s.stackGoes(t, operator, s.stackComes(t, operator, "second"))
	s.platformHasEvents(t, operator)
	if ignored := s.stack(t, "team-a", "ignored"); ignored.Status.ObservedGeneration != 0 {
		t.Errorf("a stack of another namespace was handled: %+v", ignored.Status)
	}
	s.stopOperator(t, operator)
}

// platformHasEvents has the operator say of a platform, which is no object of a namespace, what is
// wrong with it.
func (s *server) platformHasEvents(t *testing.T, operator *testenv.Process) {
	t.Helper()
	platform := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "away"}}
	platform.Spec.Prometheus = &obsv1.PlatformPrometheus{URL: "http://127.0.0.1:1"}
	testenv.Create(t, s, platform)
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	err := operator.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		events := &eventsv1.EventList{}
		err := s.List(ctx, events)
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
			return e.Regarding.UID == platform.UID && e.Reason == obsv1.ReasonUnreachable
		}), err
	})
	if err != nil {
		t.Errorf("no event says that Prometheus is away: %v", err)
	}
	if err := s.Delete(t.Context(), platform); err != nil {
		t.Error(err)
	}
}

// operatorLeavesPodsToThePolicies has the API server inject, and the operator stamp what it missed.
func (s *server) operatorLeavesPodsToThePolicies(t *testing.T) {
	testenv.NeedPolicies(t, s.plane.Config)
	s.helm(t, "upgrade", chart, "--set", "injection.engine=Policy", "--force-conflicts")
	operator := s.startOperator(t, testenv.FreeAddress(t))
	s.stackGoes(t, operator, s.stackComes(t, operator, "third"))
	s.stopOperator(t, operator)
	if log := string(read(t, operator.Log)); !strings.Contains(log, `"engine":"Policy"`) {
		t.Errorf("the log does not say what injects:\n%s", operator.Tail())
	}
}

func (s *server) startOperator(t *testing.T, metrics string) *testenv.Process {
	t.Helper()
	program, err := testenv.BuildOperator(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "obstack"}, deployment); err != nil {
		t.Fatal(err)
	}
	args := container(t, deployment).Args
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--webhook") }) {
		args = append(args, s.routeWebhooks(t)...)
	}
	args = append(args, "--kubeconfig="+s.kubeconfigOf(t, deployment.Spec.Template.Spec.ServiceAccountName),
		"--metrics-bind-address="+metrics, "--health-probe-bind-address=127.0.0.1:0", "--leader-election-namespace=team-a",
		"--proof-interval=5s")
	running, err := s.plane.StartProcess("obstack", testenv.OperatorCommand(program, args...))
	if err != nil {
		t.Fatal(err)
	}
	return running
}

// stopOperator stops the operator, which must not have been refused anything.
func (s *server) stopOperator(t *testing.T, operator *testenv.Process) {
	t.Helper()
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(read(t, operator.Log))) {
		if strings.Contains(line, "forbidden") {
			t.Errorf("the roles lack something: %s", line)
		}
	}
}

// application is a stack that asks for everything, and what it needs and serves.
type application struct {
	stack     *obsv1.ObservabilityStack
	broker    *corev1.Secret
	grafana   *corev1.Pod
	service   *corev1.Service
	workloads []client.Object
}

// stackComes has the operator make every kind of object.
func (s *server) stackComes(t *testing.T, operator *testenv.Process, name string) application {
	t.Helper()
	const namespace = "team-b"
	broker := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broker"},
		Data:       map[string][]byte{"url": []byte("redis://redis:6379/0")},
	}
	service := testenv.Service(namespace, name, map[string]string{"app": "shop"}, "http")
	testenv.Create(t, s, broker)
	testenv.Create(t, s, service)
	// Older than the stack: the webhooks do not know what to write into them yet.
	workloads := workloads(t, namespace, name)
	for _, workload := range workloads {
		testenv.Create(t, s, workload)
	}
	grafana := grafanaPod()
	testenv.Create(t, s, grafana)
	grafana.Status.Phase = corev1.PodRunning // There is no node that would say so.
	if err := s.Status().Update(t.Context(), grafana); err != nil {
		t.Fatal(err)
	}
	stack := s.createStack(t, namespace, name)
	s.describe(t, stack, everyPart)
	// Nothing rolls out here, so the task exporter and the workloads are as ready as they get.
	s.waitFor(t, operator, stack, func() bool {
		tasks := meta.FindStatusCondition(stack.Status.Conditions, obsv1.TasksReady)
		return tasks != nil && tasks.Reason == obsv1.ReasonRollingOut && len(notTrue(stack)) == 3 && s.stamped(t, workloads)
	})
	s.injects(t, operator, stack)
	return application{stack, broker, grafana, service, workloads}
}

// grafanaPod has the sidecar that takes the dashboards.
func grafanaPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "grafana", Labels: map[string]string{"app.kubernetes.io/name": "grafana"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "grafana-sc-dashboard", Image: "quay.io/kiwigrid/k8s-sidecar",
			Env: []corev1.EnvVar{{Name: "LABEL", Value: "grafana_dashboard"}, {Name: "NAMESPACE", Value: "ALL"}},
		}}},
	}
}

// stackGoes has the operator remove them again.
func (s *server) stackGoes(t *testing.T, operator *testenv.Process, app application) {
	t.Helper()
	stack := app.stack
	for _, workload := range app.workloads {
		if err := s.Delete(t.Context(), workload); err != nil {
			t.Error(err)
		}
	}
	s.describe(t, stack, "environment: production")
	s.waitFor(t, operator, stack, func() bool { return len(stack.Status.Conditions) > 0 && len(notTrue(stack)) == 0 })
	err := s.Get(t.Context(), client.ObjectKey{Namespace: stack.Namespace, Name: stack.Name + "-tasks-main"},
		&appsv1.Deployment{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the task exporter that is no longer wanted: %v, want it gone", err)
	}
	for _, object := range []client.Object{stack, app.broker, app.grafana, app.service} {
		if err := s.Delete(t.Context(), object); err != nil {
			t.Error(err)
		}
	}
}

// metricsAreGuarded reads the metrics as the operator itself, which may not, and
// as somebody who is bound to the role for it.
func (s *server) metricsAreGuarded(t *testing.T, operator *testenv.Process, address string) {
	t.Helper()
	testenv.Create(t, s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "prometheus"}})
	testenv.Create(t, s, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "obstack-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "team-a", Name: "prometheus"}},
	})
	if status, _ := s.scrape(t, address, s.token(t, "obstack")); status != http.StatusForbidden {
		t.Errorf("without the role: %d, want %d", status, http.StatusForbidden)
	}
	metrics, token := "", s.token(t, "prometheus")
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	err := operator.WaitFor(ctx, func(context.Context) (bool, error) {
		var status int
		if status, metrics = s.scrape(t, address, token); status != http.StatusOK {
			return false, fmt.Errorf("with the role: %d, want %d", status, http.StatusOK)
		}
		return strings.Contains(metrics, "obstack_stack_last_proof_timestamp_seconds{"), nil // The next round is near.
	})
	if err != nil {
		t.Fatal(err)
	}
	wantServed(t, metrics)
}

var grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)

// wantServed checks that the operator serves each metric for which its dashboard asks, with
// the labels by which the query groups it.
func wantServed(t *testing.T, metrics string) {
	t.Helper()
	dashboard := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &dashboard)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			var labels []string
			for _, group := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				labels = append(labels, strings.Split(group[1], ", ")...)
			}
			for _, name := range metricName.FindAllStringSubmatch(target.Expr, -1) {
				series := regexp.MustCompile(`(?m)^` + name[1] + `[{ ].*$`).FindString(metrics)
				if series == "" {
					t.Errorf("panel %q of the dashboard asks for %s, which the operator does not serve", panel.Title, name[1])
				}
				for _, label := range labels {
					// Prometheus calls a metric's own namespace so, beside that of the Pod.
					if label != "exported_namespace" && !strings.Contains(series, label+`="`) {
						t.Errorf("panel %q of the dashboard groups by %s, which %s does not have", panel.Title, label, name[1])
					}
				}
			}
		}
	}
}

// scrape reads the metrics as the chart's ServiceMonitor says: it sends the token to nobody but
// the operator.
func (s *server) scrape(t *testing.T, address, token string) (int, string) {
	t.Helper()
	objects := renderChart(t, "--set", "metrics.serviceMonitor.enabled=true", "--namespace", "team-a")
	check := only[monitoringv1.ServiceMonitor](t, objects, "ServiceMonitor").Spec.Endpoints[0].TLSConfig
	secret := &corev1.Secret{}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: check.CA.Secret.Name}, secret); err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(secret.Data[check.CA.Secret.Key]) {
		t.Fatalf("key %s of the Secret %s holds no authority", check.CA.Secret.Key, secret.Name)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	verified := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authorities, ServerName: *check.ServerName},
	}}
	response, err := verified.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// token is a token of a service account in the release's namespace.
func (s *server) token(t *testing.T, serviceAccount string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: serviceAccount}}
	request := &authenticationv1.TokenRequest{}
	if err := s.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// kubeconfigOf is a file that connects as a service account.
func (s *server) kubeconfigOf(t *testing.T, serviceAccount string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server: s.plane.Config.Host, CertificateAuthorityData: s.plane.Config.CAData,
	}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: s.token(t, serviceAccount)}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	content, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// waitFor reads a stack until the operator has seen its newest spec and ready is true.
func (s *server) waitFor(t *testing.T, operator *testenv.Process, stack *obsv1.ObservabilityStack, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	err := operator.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		err := s.Get(ctx, client.ObjectKeyFromObject(stack), stack)
		return err == nil && stack.Status.ObservedGeneration == stack.Generation && ready(), err
	})
	if err != nil {
		t.Fatalf("%v: not True are %v; workloads %+v; the operator's log ends with\n%s", err, notTrue(stack),
			stack.Status.Workloads, operator.Tail())
	}
}

// notTrue are the conditions that say that something is missing, but for what nobody is there to
// see.
func notTrue(stack *obsv1.ObservabilityStack) []string {
	var found []string
	for _, condition := range stack.Status.Conditions {
		if condition.Status != metav1.ConditionTrue && condition.Type != obsv1.Verified {
			found = append(found, fmt.Sprintf("%s: %s: %s", condition.Type, condition.Reason, condition.Message))
		}
	}
	return found
}
