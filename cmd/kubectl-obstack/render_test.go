// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/testenv"
)

const served = "ServiceMonitor,PodMonitor,PrometheusRule" // what the control plane of tests serves

// TestRenderIsWhatTheOperatorMakes compares every stack of the samples and of the golden cases,
// rendered without a cluster, with what a running operator made of it.
func TestRenderIsWhatTheOperatorMakes(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	binary, err := testenv.BuildOperator(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testenv.StartOperator(plane, binary, "operator"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("there are the samples %v (%v)", files, err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == "platform.yaml" })
	for i, file := range files {
		namespace := fmt.Sprintf("sample-%d", i)
		ensureNamespace(t, api, namespace)
		out, errs, code := kubectlObstack(t, plane.Kubeconfig, "render", "-f", file, "-n", namespace, "--assume", served)
		if code != exitWell && errs == "" {
			t.Errorf("render %s ends with %d and says nothing", file, code)
		}
		stacks, err := readStacks(nil, file, namespace)
		if err != nil {
			t.Fatal(err)
		}
		for _, stack := range stacks {
			ensureNamespace(t, api, stack.Namespace)
			createRefs(t, api, stack)
			testenv.Create(t, api, stack)
			waitForPass(t, api, stack)
			compare(t, api, stack, out)
		}
	}
	compareGoldenCases(t, api)
}

func ensureNamespace(t *testing.T, api client.Client, name string) {
	t.Helper()
	err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// createRefs makes the Secrets and ConfigMaps that a stack names.
func createRefs(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack) {
	t.Helper()
	secrets := map[client.ObjectKey]map[string]string{}
	configMaps := maps.Clone(secrets)
	for _, ref := range desired.Refs(stack) {
		all, value := secrets, "https://0123@sentry.invalid/1"
		if ref.ConfigMap {
			all = configMaps
		}
		if ref.Use&desired.UseBrokerURL != 0 {
			value = "redis://redis.invalid:6379/0"
		}
		key := client.ObjectKey{Namespace: stack.Namespace, Name: ref.Name}
		if all[key] == nil {
			all[key] = map[string]string{}
		}
		all[key][ref.Key] = value
	}
	for key, data := range secrets {
		testenv.Create(t, api, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, StringData: data,
		})
	}
	for key, data := range configMaps {
		testenv.Create(t, api, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: data,
		})
	}
}

func waitForPass(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if err := api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		ready := meta.FindStatusCondition(stack.Status.Conditions, obsv1.Ready)
		if ready == nil || ready.ObservedGeneration < stack.Generation {
			return "the operator has not looked at the stack"
		}
		return ""
	})
}

// compare what was rendered of a stack with what is there. An object that the API server gives
// defaults is compared after it has got them: it is applied in a dry run.
func compare(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack, rendered string) {
	t.Helper()
	there := live(t, api, stack)
	for _, want := range documents(t, rendered) {
		if want.GetLabels()[obsv1.LabelStack] != stack.Name || want.GetNamespace() != stack.Namespace {
			continue
		}
		key := nameOf(want)
		got, ok := there[key]
		if !ok {
			t.Errorf("stack %s: %s was rendered, and the operator made only %v", stack.Name, key,
				slices.Sorted(maps.Keys(there)))
			continue
		}
		delete(there, key)
		takeUnknown(want.Object, got.Object)
		if want.GetKind() != "Secret" {
			err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(want), client.DryRunAll,
				client.ForceOwnership, client.FieldOwner(obsv1.FieldManager))
			if err != nil {
				t.Fatal(err)
			}
		}
		clean(want)
		clean(got)
		if diff := cmp.Diff(got.Object, want.Object); diff != "" {
			t.Errorf("stack %s: %s differs (-operator +rendered):\n%s", stack.Name, key, diff)
		}
	}
	for key := range there {
		t.Errorf("stack %s: the operator made %s, which was not rendered", stack.Name, key)
	}
}

// nameOf an object, without what is unknown of it: the variables distinguish settings.
func nameOf(object *unstructured.Unstructured) string {
	name := object.GetName()
	if strings.HasPrefix(name, "obstack.") && object.GetLabels()[obsv1.LabelComponent] == "settings" {
		data, _, _ := unstructured.NestedMap(object.Object, "data")
		name = "settings with " + strings.Join(slices.Sorted(maps.Keys(data)), ", ")
	}
	return object.GetKind() + "/" + name
}

// live are the objects that the operator made.
func live(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, kind := range childKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := api.List(t.Context(), list, client.InNamespace(stack.Namespace), client.MatchingLabels{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: stack.Name,
		})
		if err != nil && !meta.IsNoMatchError(err) {
			t.Fatal(err)
		}
		for i := range list.Items {
			found[nameOf(&list.Items[i])] = &list.Items[i]
		}
	}
	return found
}

// documents of YAML.
func documents(t *testing.T, text string) (all []*unstructured.Unstructured) {
	t.Helper()
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
}

// clean takes out what only the cluster knows.
func clean(object *unstructured.Unstructured) {
	for _, field := range []string{
		"managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "ownerReferences",
	} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(object.Object, "metadata", "annotations", obsv1.AnnotationApplied)
	if len(object.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
	}
	unstructured.RemoveNestedField(object.Object, "metadata", "annotations", "deployment.kubernetes.io/revision")
	delete(object.Object, "status")
	if object.GetKind() == "Service" {
		for _, field := range []string{"clusterIP", "clusterIPs"} {
			unstructured.RemoveNestedField(object.Object, "spec", field)
		}
	}
}

func TestRenderSaysWhatIsWrong(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	head := "apiVersion: obstack.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {name: shop}\nspec: "
	wantResults(t, "/nowhere", []result{
		{[]string{"render"}, "-f is missing", exitUsage},
		{[]string{"render", "-f", "/nowhere.yaml"}, "no such file", exitWrong},
		{[]string{"render", "-f", write("empty.yaml", "kind: Pod\n")}, "holds no ObservabilityStack", exitWrong},
		{[]string{"render", "-f", write("broken.yaml", "kind: [\n")}, "broken.yaml: ", exitWrong},
		{[]string{"render", "-f", write("refused.yaml", head+"{alerts: {}}\n")}, "alerts need something to alert on",
			exitWrong},
		{[]string{"render", "-f", write("unknown.yaml", head+"{where: a}\n")}, "where", exitWrong},
		{[]string{"render", "-f", write("well.yaml", head+"{environment: a}\n"), "--assume=Pod"}, "must be some of",
			exitUsage},
		{[]string{"render", "-f", "../../config/samples/full.yaml", "--assume="}, "default/shop: MetricsReady: ", exitWrong},
	})
}

func TestRenderPrints(t *testing.T) {
	out, errs, code := kubectlObstack(t, "/nowhere", "render", "-f", "../../config/samples/minimal.yaml")
	if code != exitWell || errs != "" {
		t.Errorf("render ends with %d and says %q", code, errs)
	}
	golden(t, "render/minimal.txt", out)
}

func TestRenderUsesThePlatform(t *testing.T) {
	platform := filepath.Join(t.TempDir(), "platform.yaml")
	text := "apiVersion: obstack.dev/v1alpha1\nkind: ObservabilityPlatform\n" +
		"metadata: {name: default}\nspec: {cluster: eu-1}\n"
	if err := os.WriteFile(platform, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"render", "-f", "../../config/samples/minimal.yaml"}
	plain, _, _ := kubectlObstack(t, "/nowhere", command...)
	command = append(command, "--platform", platform)
	with, errs, code := kubectlObstack(t, "/nowhere", command...)
	if code != exitWell || strings.Contains(plain, "eu-1") || !strings.Contains(with, "eu-1") {
		t.Errorf("with the platform render ends with %d (%s) and prints:\n%s", code, errs, with)
	}
	if again, _, _ := kubectlObstack(t, "/nowhere", command...); with != again {
		t.Error("it prints another thing the second time")
	}
}
