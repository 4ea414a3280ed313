// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestEngineSendsNothingAfterARestart(t *testing.T) {
	p := start(t)
	want := []client.Object{configMap("a", "k=1"), configMap("b"), configMap("c"), configMap("d"), configMap("e")}
	p.pass(t, want...)
	p.edit(t, "b", func(c *corev1.ConfigMap) { c.Data = map[string]string{"theirs": "1"} })
	next := p.restart()
	wantSent(t, next.pass(t, want...))
	if next.pages != 3 {
		t.Errorf("read %d pages of two, want 3", next.pages)
	}
	wantSent(t, next.pass(t, want...))
	if next.pages != 3 {
		t.Errorf("the second pass read %d pages, want none", next.pages-3)
	}
	if left := len(next.inherited[configMapKind].found); left != 0 {
		t.Errorf("%d children are still in memory, want none", left)
	}
	if !next.Expected(p.read(t, "a"), configMapKind.GroupKind()) {
		t.Error("what the former process wrote is not expected")
	}
	wantSent(t, next.pass(t, want[1:]...), "delete a")
}

// TestEngineRepairsWhatHappenedBeforeItStarted changes one of two children while no process runs.
func TestEngineRepairsWhatHappenedBeforeItStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.ConfigMap)
		// want is the data afterwards, if not as before.
		want map[string]string
	}{
		"a value":           {change: func(c *corev1.ConfigMap) { c.Data["k"] = "2" }},
		"a field is gone":   {change: func(c *corev1.ConfigMap) { delete(c.Data, "k") }},
		"all data are gone": {change: func(c *corev1.ConfigMap) { c.Data = nil }},
		"a label":           {change: func(c *corev1.ConfigMap) { c.Labels["more"] = "2" }},
		"a label is gone":   {change: func(c *corev1.ConfigMap) { delete(c.Labels, "more") }},
		"an annotation":     {change: func(c *corev1.ConfigMap) { c.Annotations["note"] = "2" }},
		"the hash is gone":  {change: func(c *corev1.ConfigMap) { delete(c.Annotations, hashAnnotation) }},
		"the hash":          {change: func(c *corev1.ConfigMap) { c.Annotations[hashAnnotation] = "0" }},
		"the owner is gone": {change: func(c *corev1.ConfigMap) { c.OwnerReferences = nil }},
		"nobody owns a field any more": {change: func(c *corev1.ConfigMap) {
			c.ManagedFields = []metav1.ManagedFieldsEntry{{}}
			c.Data["k"] = "2"
		}},
		"a value and a field of others": {
			change: func(c *corev1.ConfigMap) { c.Data["k"], c.Data["theirs"] = "2", "1" },
			want:   map[string]string{"k": "1", "l": "1", "theirs": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			drifted := func() *corev1.ConfigMap {
				c := configMap("drifted", "k=1", "l=1")
				c.Labels = map[string]string{"more": "1"}
				maps.Copy(c.Labels, labels)
				c.Annotations = map[string]string{"note": "1"}
				return c
			}
			p.pass(t, drifted(), configMap("intact", "k=1"))
			hash := p.read(t, "drifted").Annotations[hashAnnotation]
			p.edit(t, "drifted", tc.change)
			next := p.restart()
			sent := next.pass(t, drifted(), configMap("intact", "k=1"))
			if len(sent) == 2 && sent[0] == sent[1] {
				sent = sent[1:] // The name was tried first, because the child was not listed.
			}
			wantSent(t, sent, "patch drifted")
			got := p.read(t, "drifted")
			want := drifted()
			if tc.want != nil {
				want.Data = tc.want
			}
			want.Annotations[hashAnnotation] = hash
			if !maps.Equal(got.Data, want.Data) || !maps.Equal(got.Labels, want.Labels) ||
				!maps.Equal(got.Annotations, want.Annotations) || !metav1.IsControlledBy(got, p.owner) {
				t.Errorf("data %v, metadata %+v; want as applied", got.Data, got.ObjectMeta)
			}
			wantSent(t, next.restart().pass(t, drifted(), configMap("intact", "k=1")))
		})
	}
}

func TestEngineRepairsWhatAnotherManagerApplied(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a", "k=1"))
	taken := p.read(t, "a")
	taken.SetGroupVersionKind(configMapKind)
	taken.UID, taken.ResourceVersion, taken.ManagedFields = "", "", nil
	taken.Data["k"] = "2"
	body, err := json.Marshal(taken)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.RawPatch(types.ApplyPatchType, body)
	if err := live.Patch(t.Context(), taken, patch, client.FieldOwner("another"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	wantSent(t, p.restart().pass(t, configMap("a", "k=1")), "patch a")
	if got := p.read(t, "a").Data["k"]; got != "1" {
		t.Errorf("k = %q, want it repaired", got)
	}
}

func TestEngineRemovesWhatWasDroppedBeforeItStarted(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a", "k=1", "dropped=1"), configMap("unwanted"))
	wantSent(t, p.restart().pass(t, configMap("a", "k=1")), "patch a", "delete unwanted")
	if got := p.read(t, "a").Data; !maps.Equal(got, map[string]string{"k": "1"}) {
		t.Errorf("data = %v, want the dropped field gone", got)
	}
}

// TestEngineKnowsItsOwnAfterDefaulting: the API server adds defaults, completes the keys of
// list items and normalises quantities.
func TestEngineKnowsItsOwnAfterDefaulting(t *testing.T) {
	p := start(t)
	p.kinds = append(p.kinds, appsv1.SchemeGroupVersion.WithKind("Deployment"), serviceKind)
	selector := map[string]string{"app": "a"}
	container := corev1.Container{
		Name: "app", Image: "example.com/app", Args: []string{"--a", "--a"},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}},
		Env:   []corev1.EnvVar{{Name: "EMPTY"}, {Name: "SET", Value: "1"}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1000m"), corev1.ResourceMemory: resource.MustParse("0.5Gi"),
		}},
		VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http")},
		}},
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{container},
				Volumes: []corev1.Volume{{
					Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
				}},
				SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true)},
			}},
		},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: labels},
		Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("http")},
		}},
	}
	finalized := configMap("finalized")
	finalized.Finalizers = []string{"example.com/kept"}
	want := []client.Object{deployment, service, finalized}
	p.pass(t, want...)
	wantSent(t, p.restart().pass(t, want...))

	// A list's item, the status, and what nobody asked for: only the first is drift.
	stored := deployment.DeepCopy()
	stored.Namespace = p.owner.Namespace
	for change, drift := range map[*func(*appsv1.Deployment)]bool{
		new(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Env[1].Value = "2" }): true,
		new(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Ports = nil }):        true,
		new(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Args[1] = "--b" }):    true,
		new(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) }):                       false,
		new(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].TTY = true }):         false,
	} {
		if err := live.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
			t.Fatal(err)
		}
		(*change)(stored)
		if err := live.Update(t.Context(), stored, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		stored.Status.Replicas++
		if err := live.Status().Update(t.Context(), stored, client.FieldOwner("controller")); err != nil {
			t.Fatal(err)
		}
		if sent := p.restart().pass(t, want...); (len(sent) > 0) != drift {
			t.Errorf("sent %v, want a repair: %t", sent, drift)
		}
	}
}

// TestEngineGoesOnWithoutAKindThatCannotBeListed: what is wanted of other kinds is made, nothing is
// sent of that kind, and it is listed again after a while.
func TestEngineGoesOnWithoutAKindThatCannotBeListed(t *testing.T) {
	p := start(t)
	p.kinds = append(p.kinds, serviceKind)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: labels},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	p.pass(t, configMap("a"), service)
	next := p.restart()
	away, lists := true, 0
	next.Live = interceptor.NewClient(live, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if list.GetObjectKind().GroupVersionKind().Kind != "ServiceList" {
				return c.List(ctx, list, opts...)
			}
			if lists++; away {
				return errors.New("the API server is away")
			}
			return c.List(ctx, list, opts...)
		},
	})
	for range 2 {
		next.sent = nil
		pass := next.Begin(t.Context(), next.owner, next.kinds)
		err := pass.Apply(t.Context(), []client.Object{configMap("b"), service})
		if err == nil || !strings.Contains(err.Error(), "Service: the API server is away") || !pass.Incomplete() {
			t.Errorf("error = %v, want that of the list", err)
		}
		if err := pass.Prune(t.Context(), func(*metav1.PartialObjectMetadata) bool { return false }); err != nil {
			t.Error(err)
		}
	}
	p.read(t, "b")
	if lists != 1 {
		t.Errorf("%d lists that fail in two passes, want one", lists)
	}
	away, next.inherited[serviceKind].until = false, time.Time{}
	wantSent(t, next.pass(t, configMap("b")), "delete s")
}

func TestEngineForgetsWhatAnOwnerThatIsGoneLeft(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a"))
	next := p.restart()
	if err := next.inherit(t.Context(), configMapKind); err != nil || len(next.inherited[configMapKind].found) != 1 {
		t.Fatalf("%v, %v, want what the former process left", err, next.inherited[configMapKind])
	}
	next.Forget("another")
	if left := len(next.inherited[configMapKind].found); left != 1 {
		t.Errorf("%d children are in memory after another owner went, want 1", left)
	}
	next.Forget(p.owner.UID)
	if left := len(next.inherited[configMapKind].found); left != 0 {
		t.Errorf("%d children are still in memory, want none", left)
	}
}

func TestHasObject(t *testing.T) {
	const fields = `{
		"f:metadata": {
			"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}, "f:finalizers": {"v:\"x\"": {}}
		},
		"f:spec": {
			"f:atomic": {}, "f:empty": {},
			"f:ports": {
				"k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
				"k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}},
				"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}
			}
		}
	}`
	for name, tc := range map[string]struct {
		object string
		want   bool
	}{
		"what names it":            {`{"kind": "A", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}}`, true},
		"an empty status":          {`{"status": {"conditions": null}}`, true},
		"a label":                  {`{"metadata": {"labels": {"a": "1"}}}`, true},
		"another label":            {`{"metadata": {"labels": {"a": "1", "b": "1"}}}`, false},
		"an owner":                 {`{"metadata": {"ownerReferences": [{"uid": "u", "name": "o"}]}}`, true},
		"another owner":            {`{"metadata": {"ownerReferences": [{"uid": "v", "name": "o"}]}}`, false},
		"a member of a set":        {`{"metadata": {"finalizers": ["x"]}}`, true},
		"another member":           {`{"metadata": {"finalizers": ["y"]}}`, false},
		"a member of no set":       {`{"metadata": {"finalizers": [{"x": 1}]}}`, false},
		"a whole list":             {`{"spec": {"atomic": [{"a": 1}, {"b": [2]}]}}`, true},
		"something empty":          {`{"spec": {"empty": {}}}`, true},
		"a field":                  {`{"spec": {"other": 1}}`, false},
		"an item":                  {`{"spec": {"ports": [{"port": 80, "name": "http"}]}}`, true},
		"an item's field":          {`{"spec": {"ports": [{"port": 80, "appProtocol": "http"}]}}`, false},
		"an item by all keys":      {`{"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}`, true},
		"an item that may be two":  {`{"spec": {"ports": [{"port": 53}]}}`, false},
		"another item":             {`{"spec": {"ports": [{"port": 81}]}}`, false},
		"a scalar instead of such": {`{"spec": {"ports": 80}}`, false},
		"a key that is no scalar":  {`{"spec": {"ports": [{"port": [80]}]}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var owned, object map[string]any
			err := errors.Join(json.Unmarshal([]byte(fields), &owned), json.Unmarshal([]byte(tc.object), &object))
			if err != nil {
				t.Fatal(err)
			}
			if hasObject(nil, maps.Clone(object)) {
				t.Error("hasObject = true for an object of which nothing is owned")
			}
			if got := hasObject(owned, object); got != tc.want {
				t.Errorf("hasObject = %t, want %t", got, tc.want)
			}
		})
	}
}
