// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// account is the operator's, with every right there is: what is refused, the policy refuses.
func (s *server) account(t *testing.T, user string) client.Client {
	t.Helper()
	config := rest.CopyConfig(s.plane.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	c, err := client.New(config, client.Options{Scheme: s.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// policyBounds installs the policy as kustomize does, and does as the operator what it
// may and may not do. All of it is tried by dry runs on the same objects.
func (s *server) policyBounds(t *testing.T) {
	objects := kustomize(t, "default")
	for _, object := range slices.Concat(ofKind(objects, policyKind), ofKind(objects, bindingKind)) {
		testenv.Create(t, s, object)
		t.Cleanup(func() { s.remove(t, object) })
	}
	for _, object := range parse(t, read(t, "testdata/policy/objects.yaml")) {
		testenv.Create(t, s, object)
		t.Cleanup(func() { s.remove(t, object) })
	}
	untracked := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "team-b", Name: "untracked"}}
	forget := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"managedFields": [{}]}}`))
	if err := s.Patch(t.Context(), untracked, forget); err != nil || len(untracked.ManagedFields) > 0 {
		t.Fatalf("forget who set which field: %v, %v", untracked.ManagedFields, err)
	}
	large := largeDeployment(t)
	testenv.Create(t, s, large)
	t.Cleanup(func() { s.remove(t, large) })
	s.registerMutator(t)
	operator := s.account(t, testenv.OperatorAccount)
	s.waitForPolicy(t, operator)
	minor := s.minorVersion(t)
	for _, tc := range policyCases(t) {
		t.Run(tc.Name, func(t *testing.T) {
			if minor < tc.Since {
				t.Skipf("Kubernetes 1.%d knows no such case", minor)
			}
			s.wantBound(t, operator, tc)
		})
	}
	t.Run("in two steps", func(t *testing.T) { s.policyBoundsSteps(t, operator) })
	t.Run("in steps that are stamps", func(t *testing.T) { s.policyAllowsStamps(t, operator) })
}

// wantBound does as the operator, and as somebody else, what the policy may refuse the operator.
func (s *server) wantBound(t *testing.T, operator client.Client, tc policyCase) {
	t.Helper()
	err := tc.do(t.Context(), operator)
	switch {
	case tc.Refused == "" && err != nil:
		t.Errorf("%v, want it allowed", err)
	case tc.Refused != "" && !refusedBy(err, "obstack-operator", tc.Refused):
		t.Errorf("%v, want the policy to refuse it with %q", err, tc.Refused)
	}
	if tc.Refused == "" {
		return
	}
	if err := tc.do(t.Context(), s.account(t, "somebody")); err != nil {
		t.Errorf("as somebody else: %v, want it allowed", err)
	}
}

// policyBoundsSteps tries, for real, what no single request shows: to write first who set which
// field, and then to change a field for which nothing shows it any more.
func (s *server) policyBoundsSteps(t *testing.T, operator client.Client) {
	const image = `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/evil"}]`
	const unconfine = `[{"op": "remove", "path": "/spec/template/spec/securityContext"}]`
	record := func(manager string, at time.Time, fields string) string {
		return fmt.Sprintf(`[{"op": "replace", "path": "/metadata/managedFields", "value": [{"manager": %q,
			"operation": "Update", "apiVersion": "apps/v1", "time": %q, "fieldsType": "FieldsV1", "fieldsV1": %s}]}]`,
			manager, at.UTC().Format(time.RFC3339), fields)
	}
	const probe = `{"f:metadata": {"f:annotations": {"f:inject.obstack.dev/probe": {}}}}`
	const owned = `{"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"api\"}": {"f:image": {}}}}}}}`
	soon := time.Now().Add(3 * time.Second).Truncate(time.Second)
	for name, tc := range map[string]struct {
		as            client.Client
		first, second string
		manager       string
		at            time.Time
	}{
		"own record, then a removal":       {operator, record("obstack", soon, probe), unconfine, "obstack", time.Time{}},
		"another's record, then a removal": {operator, record("evil", soon, owned), unconfine, "obstack", time.Time{}},
		"another's record, then its image": {operator, record("evil", soon, owned), image, "evil", soon},
		"its image in another's same second": {
			s, strings.ReplaceAll(image, "evil", "v2"), image, "packaging.test", time.Time{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.confined(t)
			do := func(as client.Client, patch, manager string) error {
				target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}}
				body := client.RawPatch(types.JSONPatchType, []byte(patch))
				return as.Patch(t.Context(), target, body, client.FieldOwner(manager))
			}
			if tc.as == s {
				time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
			}
			first := do(tc.as, tc.first, "packaging.test")
			time.Sleep(time.Until(tc.at))
			second := do(operator, tc.second, tc.manager)
			const foreign = "of workloads that are not its own"
			if tc.as != s && !refusedBy(first, "obstack-operator", foreign) {
				t.Errorf("the first step: %v, want the policy to refuse it", first)
			}
			if !refusedBy(second, "obstack-operator", foreign) {
				t.Errorf("the second step: %v, want the policy to refuse it", second)
			}
		})
	}
}

// policyAllowsStamps stamps for real, where managedFields change most by it.
func (s *server) policyAllowsStamps(t *testing.T, operator client.Client) {
	d := s.confined(t)
	target := func() *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}}
	}
	merge := func(as client.Client, manager, patch string) {
		t.Helper()
		raw := client.RawPatch(types.MergePatchType, []byte(patch))
		if err := as.Patch(t.Context(), target(), raw, client.FieldOwner(manager)); err != nil {
			t.Errorf("%s writes %s: %v, want it allowed", manager, patch, err)
		}
	}
	const template = `{"spec": {"template": {"metadata": {"labels": {"inject.obstack.dev/stack": %[1]s},
		"annotations": {"inject.obstack.dev/config-hash": %[1]s}}}}}`
	stamp, release := fmt.Sprintf(template, `"shop"`), fmt.Sprintf(template, "null")
	apply := client.RawPatch(types.ApplyPatchType, fmt.Appendf(nil, `{"apiVersion": "apps/v1", "kind": "Deployment",
		"spec": {"template": {"metadata": {"annotations": {"inject.obstack.dev/config-hash": "theirs", "team": "shop"}}}}}`))
	if err := s.Patch(t.Context(), target(), apply, client.FieldOwner("cd"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	merge(s, "other", fmt.Sprintf(template, `"theirs"`))
	merge(operator, obsv1.FieldManager, stamp)
	merge(operator, obsv1.FieldManager, release)
	merge(s, "other", fmt.Sprintf(template, `"theirs"`))
	merge(operator, obsv1.FieldManager, release)
	for i := range 12 { // More than Kubernetes keeps apart.
		merge(s, fmt.Sprintf("manager-%d", i), fmt.Sprintf(`{"metadata": {"annotations": {"key-%d": "value"}}}`, i))
	}
	merge(operator, obsv1.FieldManager, stamp)
	merge(operator, obsv1.FieldManager, release)
}

// confined makes a Deployment that is not obstack's.
func (s *server) confined(t *testing.T) *appsv1.Deployment {
	t.Helper()
	template := shopTemplate(t, corev1.RestartPolicyAlways)
	template.Spec.Containers[0].Name = "api"
	template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true)}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-b", GenerateName: "confined-"},
		Spec:       appsv1.DeploymentSpec{Selector: metav1.SetAsLabelSelector(template.Labels), Template: template},
	}
	if err := s.Create(t.Context(), d, client.FieldOwner("packaging.test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.remove(t, d) })
	return d
}

// largeDeployment is as large as they get, so that what the policy costs shows: Kubernetes stops
// an expression that costs too much, and refuses the request.
func largeDeployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	template := shopTemplate(t, corev1.RestartPolicyAlways)
	container := template.Spec.Containers[0]
	for i := range 150 {
		name := fmt.Sprintf("SOME_VARIABLE_%d", i)
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: strings.Repeat("value", 10)})
	}
	template.Spec.Containers = nil
	for i := range 40 {
		container.Name = fmt.Sprintf("api-%d", i)
		template.Spec.Containers = append(template.Spec.Containers, container)
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-b", Name: "large", Labels: map[string]string{"pin": "images"}},
		Spec:       appsv1.DeploymentSpec{Selector: metav1.SetAsLabelSelector(template.Labels), Template: template},
	}
}

// refusedBy reports whether a policy of that name refused a request, with a message.
func refusedBy(err error, policy, message string) bool {
	return apierrors.IsForbidden(err) &&
		strings.Contains(err.Error(), "'"+policy+"'") && strings.Contains(err.Error(), message)
}

// policyCase is one request of testdata/policy/cases.yaml.
type policyCase struct {
	Name string `json:"name"`
	// Verb is "create", "apply", "patch" (a merge patch of Object), "json" (a JSON patch of Object
	// by Patch) or "delete".
	Verb    string          `json:"verb"`
	Manager string          `json:"manager,omitempty"`
	Object  map[string]any  `json:"object"`
	Patch   json.RawMessage `json:"patch,omitempty"`
	// Refused is what the policy says; empty if it allows the request.
	Refused string `json:"refused,omitempty"`
	// Since is the minor version of Kubernetes that the case needs.
	Since int `json:"since,omitempty"`
}

func policyCases(t *testing.T) []policyCase {
	t.Helper()
	var cases []policyCase
	if err := yaml.UnmarshalStrict(read(t, "testdata/policy/cases.yaml"), &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func (s *server) minorVersion(t *testing.T) int {
	t.Helper()
	api, err := discovery.NewDiscoveryClientForConfig(s.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	version, err := api.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	minor, err := strconv.Atoi(strings.TrimSuffix(version.Minor, "+"))
	if err != nil {
		t.Fatal(err)
	}
	return minor
}

func (c *policyCase) do(ctx context.Context, as client.Client) error {
	object := (&unstructured.Unstructured{Object: c.Object}).DeepCopy()
	body, err := json.Marshal(c.Object)
	if err != nil {
		return err
	}
	manager := obsv1.FieldManager
	if c.Manager != "" {
		manager = c.Manager
	}
	owner := client.FieldOwner(manager)
	switch c.Verb {
	case "create":
		return as.Create(ctx, object, client.DryRunAll, owner)
	case "apply":
		apply := client.RawPatch(types.ApplyPatchType, body)
		return as.Patch(ctx, object, apply, client.DryRunAll, owner, client.ForceOwnership)
	case "patch":
		return as.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), client.DryRunAll, owner)
	case "json":
		return as.Patch(ctx, object, client.RawPatch(types.JSONPatchType, c.Patch), client.DryRunAll, owner)
	default:
		return as.Delete(ctx, object, client.DryRunAll)
	}
}

// waitForPolicy waits until the API server knows the policy.
func (s *server) waitForPolicy(t *testing.T, operator client.Client) {
	t.Helper()
	foreign := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "foreign", "namespace": "team-a"},
	}}
	testenv.Poll(t, func(ctx context.Context) string {
		if err := operator.Create(ctx, foreign.DeepCopy(), client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Sprintf("the policy is not in force: %v", err)
		}
		return ""
	})
}

// registerMutator has a webhook pin the images of all workloads that are labelled "pin".
func (s *server) registerMutator(t *testing.T) {
	t.Helper()
	mutator := httptest.NewTLSServer(http.HandlerFunc(pinImages))
	t.Cleanup(mutator.Close)
	rule := func(group, resource string) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
		}
	}
	configuration := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "pins-images"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "pins-images.example.com", AdmissionReviewVersions: []string{"v1"},
			SideEffects:    new(admissionv1.SideEffectClassNone),
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"pin": "images"}},
			ClientConfig: admissionv1.WebhookClientConfig{
				URL:      &mutator.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mutator.Certificate().Raw}),
			},
			Rules: []admissionv1.RuleWithOperations{rule("apps", "deployments"), rule("batch", "cronjobs")},
		}},
	}
	testenv.Create(t, s, configuration)
	t.Cleanup(func() { s.remove(t, configuration) })
}

func pinImages(w http.ResponseWriter, r *http.Request) {
	review := &admissionreview.AdmissionReview{}
	if err := json.NewDecoder(r.Body).Decode(review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path := "/spec/template/spec/containers/0/image"
	if review.Request.Kind.Kind == "CronJob" {
		path = "/spec/jobTemplate" + path
	}
	patch := fmt.Sprintf(`[{"op": "replace", "path": %q, "value": "example.com/shop@sha256:%064d"}]`, path, 0)
	review.Response = &admissionreview.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, Patch: []byte(patch), PatchType: new(admissionreview.PatchTypeJSONPatch),
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func (s *server) remove(t *testing.T, object client.Object) {
	t.Helper()
	// The test's own context has ended when this runs.
	if err := s.Delete(context.WithoutCancel(t.Context()), object); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}
