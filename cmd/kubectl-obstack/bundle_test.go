// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/testenv"
)

// unpackBundle reads an archive, and return its files and its manifest.
func unpackBundle(t *testing.T, content []byte) (files map[string]string, manifest SupportBundle) {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for reader := tar.NewReader(compressed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(header.Name, "obstack-support-bundle/")] = string(text)
	}
	if err := yaml.UnmarshalStrict([]byte(files["manifest.yaml"]), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Files) != len(files)-1 {
		t.Errorf("the manifest lists %d files, and there are %d more than it", len(manifest.Files), len(files)-1)
	}
	for _, file := range manifest.Files {
		sum := sha256.Sum256([]byte(files[file.Name]))
		if file.Size != len(files[file.Name]) || file.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("the manifest does not describe %s", file.Name)
		}
	}
	return files, manifest
}

// bundleOf the cluster, with the rights of a kubeconfig.
func bundleOf(t *testing.T, kubeconfig string) (content []byte, out string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bundle.tar.gz")
	out, errs, code := kubectlObstack(t, kubeconfig, "support-bundle", "-n", "shop", "-o", file)
	if code != exitWell || !strings.HasPrefix(out, file) {
		t.Fatalf("it ends with %d and says %q and %q", code, out, errs)
	}
	content, err := os.ReadFile(file) // #nosec G304 -- of the test
	if err != nil {
		t.Fatal(err)
	}
	return content, strings.ReplaceAll(out, dir+"/", "")
}

func TestSupportBundle(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	markSecrets(t, api)
	content, _ := bundleOf(t, plane.Kubeconfig)
	files, manifest := unpackBundle(t, content)
	wantNoMarks(t, "support-bundle", files)
	for file, want := range map[string]string{
		"objects/observabilitystack.yaml":       "name: broken",
		"objects/customresourcedefinition.yaml": "name: observabilitystacks.obstack.dev",
		"objects/configmap.yaml":                "name: broken-dashboard-overview",
		"objects/secret.yaml":                   "SENTRY_DSN: <35 bytes>",
		"objects/event.yaml":                    "the broker redis://<redacted>@redis:6379/0?<redacted> is away",
		"objects/deployment.yaml":               "<left out>",
		"objects/workload-deployment.yaml":      "name: PASSWORD",
		"objects/pod.yaml":                      "name: obstack-0",
		"status.json":                           `"name": "broken"`,
		"doctor.json":                           `"findings"`,
	} {
		if !strings.Contains(files[file], want) {
			t.Errorf("%s does not hold %q:\n%s", file, want, files[file])
		}
	}
	if manifest.SearchedSecrets != 5 || len(manifest.Cut) > 0 {
		t.Errorf("%d Secrets were searched for, and cut is %v", manifest.SearchedSecrets, manifest.Cut)
	}
	for _, log := range []string{"api.log", "api.previous.log"} {
		if _, ok := files["logs/obstack-system/obstack-0/"+log]; !ok {
			t.Errorf("there is no %s", log)
		}
	}
	if again, _ := bundleOf(t, plane.Kubeconfig); !bytes.Equal(content, again) {
		t.Error("the second one of the same cluster has other bytes")
	}
	// Who may read less learns what is missing, and still gives nothing away.
	content, out := bundleOf(t, reader(t, plane, api))
	t.Run("says what it lacks", func(t *testing.T) {
		testenv.NeedPolicies(t, plane.Config) // Else it says of them that the cluster lacks them.
		golden(t, "bundle/view.txt", out)
	})
	files, manifest = unpackBundle(t, content)
	for name := range files {
		if strings.HasPrefix(name, "objects/secret") {
			t.Errorf("there is %s, which jane may not read", name)
		}
	}
	for _, want := range []string{
		"may not read Secrets", "may not read CustomResourceDefinitions", "were not searched for", "the log of Pod obstack-0",
	} {
		if !strings.Contains(strings.Join(manifest.Unread, "\n"), want) {
			t.Errorf("the manifest does not say %q: %v", want, manifest.Unread)
		}
	}
	wantResults(t, plane.Kubeconfig, []result{
		{[]string{"support-bundle", "-o", "go.mod"}, "go.mod is there already", exitWrong},
		{[]string{"support-bundle", "shop"}, "support-bundle takes no shop: write -o FILE", exitUsage},
	})
}

func TestRedactorTakesOutSecrets(t *testing.T) {
	r := &redactor{found: map[string]bool{}}
	for _, value := range []string{
		"marked-one", "marked-one-longer\n", "hunt3r", "shop", "abc", "line-of-a-key\nother-line\n",
		`{"auths": {"a.invalid": {"password": "of-a-registry"}}}`, "redis://:of-a-broker@redis/0",
		"https://key0fdsn@sentry.invalid/1", `quo"te\slash/&+`,
	} {
		r.add(value)
	}
	r.ready(map[string]bool{"shop": true})
	for text, want := range map[string]string{
		"a marked-one b":                     "a <redacted> b",
		"marked-one-longer":                  "<redacted>",
		"hunt3r, hunt3rs":                    "<redacted>, hunt3rs",
		"shop abc":                           "shop abc",
		"line-of-a-key":                      "<redacted>",
		"b2YtYS1yZWdpc3RyeQ==":               "<redacted>==",
		"of-a-registry of-a-broker":          "<redacted> <redacted>",
		"key0fdsn":                           "<redacted>",
		`{"a": "quo\"te\\slash/\u0026+"}`:    `{"a": "<redacted>"}`,
		"quo%22te%5Cslash%2F%26%2B":          "<redacted>",
		"amqp://user:p/w@h/v?a=b c":          "amqp://<redacted>@h/v?<redacted> c",
		"redis://:p?w@h/v?a=b, http://h?a@b": "redis://<redacted>@h/v?<redacted> http://<redacted>@b",
		"https://example.com/path#fragment":  "https://example.com/path#fragment",
	} {
		if got := r.text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestBundleIsBounded(t *testing.T) {
	b := &bundle{
		texts:   map[string]string{"long.log": strings.Repeat("a line\n", maxBundleFile/7) + "cut here\nthe end\n"},
		objects: map[string][]*unstructured.Unstructured{},
	}
	for range 3 {
		b.objects["ConfigMap"] = append(b.objects["ConfigMap"], &unstructured.Unstructured{Object: map[string]any{
			"kind": "ConfigMap", "text": strings.Repeat("a", maxBundleFile/2-100),
		}})
	}
	for i := range maxBundle/maxBundleFile + 1 {
		b.texts["x"+string(rune('a'+i))] = strings.Repeat("b\n", maxBundleFile/2)
	}
	content, err := b.pack()
	if err != nil {
		t.Fatal(err)
	}
	files, manifest := unpackBundle(t, content)
	total := 0
	for _, text := range files {
		total += len(text)
	}
	if total > maxBundle+maxBundleFile || !strings.HasSuffix(files["long.log"], "\nthe end\n") ||
		!strings.HasPrefix(files["long.log"], "a line\n") {
		t.Errorf("it has %d bytes, and long.log %d", total, len(files["long.log"]))
	}
	cut := strings.Join(manifest.Cut, "\n")
	for _, want := range []string{"long.log: the first ", "objects/configmap.yaml: 1 of 3 objects", "the bundle is full"} {
		if !strings.Contains(cut, want) {
			t.Errorf("it does not say %q, but %s", want, cut)
		}
	}
}

func TestReduceKeepsNoValues(t *testing.T) {
	object := &unstructured.Unstructured{}
	object.SetKind("Secret")
	object.Object["data"] = map[string]any{"a": "bWFya2Vk"}
	object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
	object.SetAnnotations(map[string]string{
		corev1.LastAppliedConfigAnnotation: "marked", "example.com/a": "marked", "obstack.dev/applied": "0",
	})
	reduce(object)
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	configMap := &unstructured.Unstructured{Object: map[string]any{
		"kind": "ConfigMap", "data": map[string]any{"a": "marked"},
	}}
	reduce(configMap)
	if data, _, _ := unstructured.NestedString(configMap.Object, "data", "a"); data != "<6 bytes>" {
		t.Errorf("a ConfigMap keeps %q", data)
	}
	want := "data:\n  a: <6 bytes>\nkind: Secret\nmetadata:\n  annotations:\n    example.com/a: <left out>\n" +
		"    obstack.dev/applied: \"0\"\n"
	if string(text) != want {
		t.Errorf("it becomes\n%s, want\n%s", text, want)
	}
}
