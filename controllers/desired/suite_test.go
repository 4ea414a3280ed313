// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
	"obstack.dev/obstack/test/testenv"
)

var update = flag.Bool("update", false, "write the want.yaml of every golden case afresh")

var scheme = testenv.Scheme()

// goldenCase is one folder of testdata.
type goldenCase struct {
	// name is "<component>-<case>"; the component "stack" stands for all of them.
	name, component string
	stack           *obsv1.ObservabilityStack
	in              Inputs
	// values of the Secrets.
	values []string
}

// caseInputs is the second document of an in.yaml: what observe would have found.
type caseInputs struct {
	Inputs struct {
		ExporterImage string `json:"exporterImage"`
		// Operator is what exporters let in.
		Operator *networkingv1.NetworkPolicyPeer `json:"operator"`
		// Secrets are the keys that exist. One without a key is a Secret without the wanted one.
		Secrets []heldKey `json:"secrets"`
		// ConfigMaps likewise.
		ConfigMaps []heldKey `json:"configMaps"`
		// Available are the Deployments that are rolled out.
		Available []string `json:"available"`
		// Workloads are those that name the stack; absent if injection is off.
		Workloads *Workloads `json:"workloads"`
		// Discovered are labels that the cluster's only Prometheus wants.
		Discovered *obsv1.DiscoveredStatus `json:"discovered"`
		// MissingAPIs are kinds that the cluster does not serve.
		MissingAPIs []string `json:"missingAPIs"`
		// Platform is what stands behind the stack.
		Platform Platform `json:"platform"`
	} `json:"inputs"`
}

// heldKey is a key of a Secret or ConfigMap.
type heldKey struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// readCases reads every folder of testdata as the API server would: with the
// defaults of the CRD, and only if its rules accept the stack.
func readCases(t testing.TB) []goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	var cases []goldenCase
	for _, file := range files {
		cases = append(cases, readCase(t, file))
	}
	return cases
}

func readCase(t testing.TB, file string) goldenCase {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stackYAML, inputsYAML, _ := bytes.Cut(content, []byte("\n---\n"))
	name := filepath.Base(filepath.Dir(file))
	component, _, _ := strings.Cut(name, "-")
	var given caseInputs
	if err := yaml.UnmarshalStrict(inputsYAML, &given); err != nil {
		t.Fatalf("%s: read the inputs: %v", file, err)
	}
	stack := Effective(accept(t, file, stackYAML), given.Inputs.Platform.Spec)
	tc := goldenCase{name: name, component: component, stack: stack, in: inputsOf(stack, given)}
	for _, secret := range given.Inputs.Secrets {
		tc.values = append(tc.values, secret.Value)
	}
	return tc
}

// optionalKinds are the kinds that a case may call missing.
var optionalKinds = []schema.GroupVersionKind{
	ServiceMonitorKind, PodMonitorKind, PrometheusRuleKind, GrafanaDashboardKind,
}

func inputsOf(stack *obsv1.ObservabilityStack, given caseInputs) Inputs {
	in := Inputs{
		ExporterImage: given.Inputs.ExporterImage, Operator: given.Inputs.Operator,
		Values:      map[KeyRef]Value{},
		Available:   map[string]bool{},
		MissingAPIs: map[schema.GroupKind]bool{},
		Workloads:   given.Inputs.Workloads,
		Platform:    given.Inputs.Platform,
		Discovered:  given.Inputs.Discovered,
	}
	if in.ExporterImage == "" {
		in.ExporterImage = "obstack.example/obstack:v1.0.0"
	}
	for _, ref := range Refs(stack) {
		held := given.Inputs.Secrets
		if ref.ConfigMap {
			held = given.Inputs.ConfigMaps
		}
		for _, secret := range held {
			if secret.Name != ref.Name {
				continue
			}
			value := in.Values[ref.KeyRef]
			value.Exists = true
			if secret.Key == ref.Key {
				content := &corev1.Secret{Data: map[string][]byte{ref.Key: []byte(secret.Value)}}
				value = NewValue(ref, content, content.Data, Source{})
				value.Revision, value.Digest = "revision-of-"+ref.Name+"-"+ref.Key, ""
				if ref.Use != UseSetting {
					value.Digest = "digest-of-" + ref.Name + "-" + ref.Key
				}
			}
			in.Values[ref.KeyRef] = value
		}
	}
	in.Settings = NewSettings(stack, in.Values, nil)
	for _, name := range given.Inputs.Available {
		in.Available[name] = true
	}
	for _, kind := range optionalKinds {
		if slices.Contains(given.Inputs.MissingAPIs, kind.Kind) {
			in.MissingAPIs[kind.GroupKind()] = true
		}
	}
	return in
}

var stacks = sync.OnceValues(func() (*crd.Admission, error) { return crd.NewAdmission(crd.Stacks) })

// admit does to a stack what the API server and a pass do, without a platform.
func admit(t testing.TB, name string, stackYAML []byte) *obsv1.ObservabilityStack {
	t.Helper()
	return Effective(accept(t, name, stackYAML), nil)
}

// accept does to a stack what the API server does: defaults, schema, CEL.
func accept(t testing.TB, name string, stackYAML []byte) *obsv1.ObservabilityStack {
	t.Helper()
	stack, problems := tryToAdmit(t, name, stackYAML)
	if len(problems) > 0 {
		t.Fatalf("%s: the API server would refuse this stack: %v", name, problems.ToAggregate())
	}
	return stack
}

// tryToAdmit returns what the API server would refuse, too.
func tryToAdmit(t testing.TB, name string, stackYAML []byte) (*obsv1.ObservabilityStack, field.ErrorList) {
	t.Helper()
	admission, err := stacks()
	if err != nil {
		t.Fatalf("read the CRD: %v", err)
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict(stackYAML, &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	stack := &obsv1.ObservabilityStack{}
	problems, err := admission.Admit(object, stack)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return stack, problems
}

// plain is an object as it is applied: with its kind. The empty status of a builtin type is left
// out, and there is no other.
func plain(t testing.TB, obj client.Object) map[string]any {
	t.Helper()
	kind, err := apiutil.GVKForObject(obj, scheme)
	if err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	content["apiVersion"], content["kind"] = kind.GroupVersion().String(), kind.Kind
	switch status := content["status"]; fmt.Sprint(status) {
	case "<nil>", "map[]", "map[loadBalancer:map[]]":
	default:
		t.Errorf("%s %s has a status, which is not for us to write: %v", kind.Kind, obj.GetName(), status)
	}
	delete(content, "status")
	return content
}

// toYAML writes with sorted keys.
func toYAML(t testing.TB, value any) string {
	t.Helper()
	content, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// build is what a component makes of a stack; the Secrets of its settings are among the objects.
func build(component Component, stack *obsv1.ObservabilityStack, in Inputs) Output {
	out := component.Build(stack, in)
	if component.Name == componentSettings {
		for _, secret := range in.settings(stack).Secrets(nil) {
			out.Objects = append(out.Objects, secret)
		}
	}
	return out
}
