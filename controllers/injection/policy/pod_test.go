// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// patched applies operations to an object, as the API server does.
func patched[T any](t testing.TB, obj *T, ops []webhook.JSONPatchOp) *T {
	t.Helper()
	document, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if document, err = patch.Apply(document); err != nil {
		t.Fatalf("apply %s: %v", encoded, err)
	}
	result := new(T)
	if err := json.Unmarshal(document, result); err != nil {
		t.Fatal(err)
	}
	return result
}

var testStamp = Stamp{Stack: named("team", "shop").Stack, ConfigHash: "abc"}

// settingsFirst is the entry that is added.
func settingsFirst(others ...corev1.EnvFromSource) []corev1.EnvFromSource {
	return append([]corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "obstack.team.shop.abc"}, Optional: new(true),
	}}}, others...)
}

func TestPodPatch(t *testing.T) {
	own := corev1.EnvFromSource{
		ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "own"}},
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "migrate"}},
		Containers: []corev1.Container{
			{Name: "api"},
			{
				Name:    "web",
				EnvFrom: []corev1.EnvFromSource{own},
				Env:     []corev1.EnvVar{{Name: "SENTRY_DSN", Value: "https://own@sentry.example/1"}},
			},
		},
	}}
	got := patched(t, pod, PodPatch(pod, testStamp, Claim{}))
	if diff := cmp.Diff(settingsFirst(), got.Spec.Containers[0].EnvFrom); diff != "" {
		t.Errorf("envFrom of a container without one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(settingsFirst(own), got.Spec.Containers[1].EnvFrom); diff != "" {
		t.Errorf("envFrom of a container with one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pod.Spec.Containers[1].Env, got.Spec.Containers[1].Env); diff != "" {
		t.Errorf("what the container sets itself (-want +got):\n%s", diff)
	}
	if len(got.Spec.InitContainers[0].EnvFrom) > 0 {
		t.Error("an init container was injected")
	}
	if diff := cmp.Diff(testStamp.Labels(), got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	want := map[string]string{obsv1.StampConfigHash: "abc", obsv1.MarkInjected: "abc"}
	if diff := cmp.Diff(want, got.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if again := PodPatch(got, testStamp, Claim{}); len(again) > 0 {
		t.Errorf("repeated on its own result it does %+v", again)
	}
}

func TestPodPatchOfChosenContainers(t *testing.T) {
	for name, tc := range map[string]struct {
		chosen []string
		want   string
	}{
		"all but sidecars":  {want: "api worker"},
		"all":               {chosen: []string{"*"}, want: "api worker istio-proxy"},
		"one":               {chosen: []string{"api"}, want: "api"},
		"one and a sidecar": {chosen: []string{"api", "istio-proxy"}, want: "api istio-proxy"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "api"}, {Name: "worker"}, {Name: "istio-proxy"}},
		}}
		var got []string
		for _, c := range patched(t, pod, PodPatch(pod, testStamp, Claim{Containers: tc.chosen})).Spec.Containers {
			if len(c.EnvFrom) > 0 {
				got = append(got, c.Name)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: injected %v, want %s", name, got, tc.want)
		}
	}
}

func TestPodPatchReleaseFromImage(t *testing.T) {
	for image, want := range map[string]string{
		"shop:1.4.2":                           "1.4.2",
		"registry.example:5000/team/shop:v2":   "v2",
		"registry.example:5000/team/shop":      "",
		"shop":                                 "",
		"shop@sha256:0123":                     "sha256:0123",
		"registry.example/shop:1.4@sha256:012": "1.4",
	} {
		if got := versionOf(image); got != want {
			t.Errorf("versionOf(%q) = %q, want %q", image, got, want)
		}
	}
	stamp := testStamp
	stamp.Workload = "api"
	set := []corev1.EnvVar{{Name: "SENTRY_RELEASE", Value: "own"}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "api", Image: "shop:1.4.2"},
		{Name: "own", Image: "shop:1.4.2", Env: set},
		{Name: "more", Image: "shop:1.4.3", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}},
		{Name: "none", Image: "shop"},
	}}}
	got := patched(t, pod, PodPatch(pod, stamp, Claim{}))
	want := [][]corev1.EnvVar{
		{{Name: "SENTRY_RELEASE", Value: "api@1.4.2"}}, set,
		{{Name: "A", Value: "1"}, {Name: "SENTRY_RELEASE", Value: "api@1.4.3"}}, nil,
	}
	for i := range want {
		if diff := cmp.Diff(want[i], got.Spec.Containers[i].Env); diff != "" {
			t.Errorf("env of %s (-want +got):\n%s", got.Spec.Containers[i].Name, diff)
		}
	}
	if again := PodPatch(got, stamp, Claim{}); len(again) > 0 {
		t.Errorf("repeated on its own result it does %+v", again)
	}
}

// A container may get a release from where admission cannot see it.
func TestPodPatchLeavesTheReleaseToWhoeverOptsOut(t *testing.T) {
	stamp := testStamp
	stamp.Workload = "api"
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "shop:1.4.2"}}}}
	if got := patched(t, pod, PodPatch(pod, stamp, Claim{OwnRelease: true})); len(got.Spec.Containers[0].Env) > 0 {
		t.Errorf("env = %+v, want none", got.Spec.Containers[0].Env)
	}
}

// TestPodPatchNeverChangesItsInput: the object may be shared.
func TestPodPatchNeverChangesItsInput(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 3)}}
	before := pod.DeepCopy()
	PodPatch(pod, testStamp, Claim{})
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Errorf("the Pod was changed:\n%s", diff)
	}
}

// Of a Pod, those containers count that read the settings, and a sidecar is none of them.
func TestStartedBefore(t *testing.T) {
	made := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	running := func(name string, after time.Duration) corev1.ContainerStatus {
		started := metav1.NewTime(made.Add(after))
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
			Running: &corev1.ContainerStateRunning{StartedAt: started},
		}}
	}
	waiting := corev1.ContainerStatus{Name: "api", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"},
	}}
	early, late, sidecar := running("api", -time.Second), running("api", 0), running("proxy", -time.Hour)
	for name, tc := range map[string]struct {
		statuses    []corev1.ContainerStatus
		before, all bool
	}{
		"nothing is known":            {},
		"waits for its image":         {statuses: []corev1.ContainerStatus{waiting, sidecar}},
		"started before the settings": {[]corev1.ContainerStatus{early, sidecar}, true, true},
		"started with them":           {[]corev1.ContainerStatus{late, sidecar}, false, true},
		"one of two":                  {[]corev1.ContainerStatus{late, running("worker", -time.Second)}, true, true},
		"one of two, one to come":     {[]corev1.ContainerStatus{running("worker", -time.Second)}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "api", EnvFrom: settingsFirst()}, {Name: "proxy"},
			}}}
			if strings.HasPrefix(name, "one of two") {
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "worker", EnvFrom: settingsFirst()})
			}
			pod.Status.ContainerStatuses = tc.statuses
			if before, all := StartedBefore(pod, "obstack.team.shop.abc", made); before != tc.before || all != tc.all {
				t.Errorf("started before: %t, all run: %t, want %t and %t", before, all, tc.before, tc.all)
			}
		})
	}
}
