// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func emptyBundle() *bundle {
	return &bundle{
		objects: map[string][]*unstructured.Unstructured{}, contents: map[string]any{}, texts: map[string]string{},
	}
}

// podOf a namespace, with a container that restarted.
func podOf(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"kind": "Pod", "metadata": map[string]any{"namespace": namespace, "name": name},
		"status": map[string]any{"containerStatuses": []any{map[string]any{"name": "a", "restartCount": int64(1)}}},
	}}
}

func TestLogsAreOfOurNamespaces(t *testing.T) {
	b := emptyBundle()
	for _, pod := range []string{"evil/a", "obs/a", "obs/b", "obstack-system/a", "shop/a", "shop/b", "team/a"} {
		namespace, name, _ := strings.Cut(pod, "/")
		b.objects["Pod"] = append(b.objects["Pod"], podOf(namespace, name))
	}
	in := &installation{
		operators: []operator{{deployment: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "obs"}}}},
		stacks: []*obsv1.ObservabilityStack{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}, {ObjectMeta: metav1.ObjectMeta{Namespace: "team"}},
		},
	}
	list := func(in *installation) (files []string) {
		for _, one := range b.logged(in) {
			if !one.previous {
				files = append(files, strings.TrimPrefix(one.file(), "logs/"))
			}
		}
		return files
	}
	want := []string{"obs/a/a.log", "obs/b/a.log", "shop/a/a.log", "team/a/a.log", "shop/b/a.log"}
	if got := list(in); !slices.Equal(got, want) {
		t.Errorf("the logs are %v, want %v", got, want)
	}
	if got, want := list(nil), []string{"obstack-system/a/a.log"}; !slices.Equal(got, want) {
		t.Errorf("where nothing is known of the installation, they are %v, want %v", got, want)
	}
	if got := len(b.logged(in)); got != 10 {
		t.Errorf("with those before the restart there are %d, want 10", got)
	}
}

func TestLogsAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		pods, size, kept int
		cut              string
	}{
		"large ones": {pods: 30, size: logBytes, kept: 16, cut: "logs: 14 of 30"},
		"many":       {pods: maxLogs + 5, size: 10, kept: maxLogs, cut: "logs: 5 of 205"},
		"few":        {pods: 3, size: 10, kept: 3},
	} {
		b := emptyBundle()
		var wanted []logged
		for i := range tc.pods {
			wanted = append(wanted, logged{pod: podOf("obs", fmt.Sprint("p", i)), container: "a"})
		}
		b.readLogs(wanted, func(_ *unstructured.Unstructured, opts *corev1.PodLogOptions) ([]byte, error) {
			text := strings.Repeat("0123456789abcde\n", tc.size/16+1)
			return []byte(text[:min(int64(tc.size), *opts.LimitBytes)]), nil
		})
		total := 0
		for _, text := range b.texts {
			total += len(text)
		}
		if len(b.texts) != tc.kept || total > allLogs {
			t.Errorf("%s: %d logs of %d bytes are kept, want %d", name, len(b.texts), total, tc.kept)
		}
		if cut := strings.Join(b.manifest.Cut, "\n"); !strings.Contains(cut, tc.cut) {
			t.Errorf("%s: it does not say %q, but %s", name, tc.cut, cut)
		}
	}
}

// TestReportsComeBeforeLogs shows that what is large does not take the place of what is important.
func TestReportsComeBeforeLogs(t *testing.T) {
	b := emptyBundle()
	b.contents["status.json"] = map[string]any{"stacks": []any{}}
	b.objects["Deployment"] = []*unstructured.Unstructured{{Object: map[string]any{"kind": "Deployment"}}}
	for i := range maxBundle / maxBundleFile {
		b.texts[fmt.Sprintf("logs/a/%02d.log", i)] = strings.Repeat("a\n", maxBundleFile/2)
	}
	b.texts["logs/z/small.log"] = "it finds room\n"
	content, err := b.pack()
	if err != nil {
		t.Fatal(err)
	}
	files, manifest := unpackBundle(t, content)
	for _, name := range []string{"status.json", "objects/deployment.yaml", "logs/a/14.log", "logs/z/small.log"} {
		if files[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if want := []string{"logs/a/15.log: the bundle is full"}; !slices.Equal(manifest.Cut, want) {
		t.Errorf("it says %v, want %v", manifest.Cut, want)
	}
	if manifest.Files[0].Name != "status.json" {
		t.Errorf("the first file is %s", manifest.Files[0].Name)
	}
}

// TestBundleTakesHostileTexts which YAML cannot hold as they are.
func TestBundleTakesHostileTexts(t *testing.T) {
	b := emptyBundle()
	b.objects["Event"] = []*unstructured.Unstructured{{Object: map[string]any{"kind": "Event", "message": hostile}}}
	b.unread(errors.New(hostile))
	content, err := b.pack()
	if err != nil {
		t.Fatal(err)
	}
	files, manifest := unpackBundle(t, content)
	for name, text := range files {
		wantHarmless(t, name, text)
	}
	if manifest.Unread[0] != hostile {
		t.Errorf("it could not read %q", manifest.Unread[0])
	}
}

// TestReportsStayJSON whatever a Secret holds.
func TestReportsStayJSON(t *testing.T) {
	b := emptyBundle()
	b.redactor = *redactorOf(map[string]string{"a": "1234", "b": "stacks-one"})
	b.redactor.found["1234"] = false
	b.report("status", map[string]any{"count": 1234, "well": true, "text": `a "stacks-one" of 1234`})
	content, err := b.pack()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := unpackBundle(t, content)
	want := `{
  "count": 1234,
  "text": "a \"<redacted>\" of <redacted>",
  "well": true
}
`
	if got := files["status.json"]; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
}

func TestLeaveOut(t *testing.T) {
	event := func(namespace string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": namespace}}}
	}
	for but, want := range map[string][]string{
		"": {"status.txt"}, "shop": {"events: 1", "logs/shop/a.log", "status.txt"}, "other": {"status.txt"},
	} {
		b := emptyBundle()
		b.objects["Event"] = []*unstructured.Unstructured{event("shop"), event("shop-two")}
		for _, file := range []string{"status.txt", "logs/shop/a.log", "logs/shop-two/a.log"} {
			b.texts[file] = "a"
		}
		b.leaveOut(but)
		got := slices.Sorted(maps.Keys(b.texts))
		if events, ok := b.objects["Event"]; ok {
			got = append([]string{fmt.Sprint("events: ", len(events))}, got...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("but for %q there are %v, want %v", but, got, want)
		}
	}
}

// TestBundleWithoutSecrets shows that what nobody searched for secrets is not given away.
func TestBundleWithoutSecrets(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	markSecrets(t, api)
	kubeconfig := reader(t, plane, api)
	testenv.Create(t, api, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "logs"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"events", "pods/log"}, Verbs: []string{"get", "list"}},
		},
	})
	testenv.Create(t, api, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "logs"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "logs"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}},
	})
	content, out := bundleOf(t, kubeconfig)
	files, manifest := unpackBundle(t, content)
	for name := range files {
		if strings.HasPrefix(name, "logs/") || name == "objects/event.yaml" {
			t.Errorf("there is %s", name)
		}
	}
	want := "logs and events are left out"
	if !strings.HasPrefix(manifest.Unread[0], want) || !strings.Contains(out, want) {
		t.Errorf("it says %q and prints %q", manifest.Unread[0], out)
	}
}
