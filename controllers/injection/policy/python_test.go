// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// pythonStamp names a bundle.
var pythonStamp = Stamp{Stack: testStamp.Stack, ConfigHash: "abc", Python: "0a", PythonPath: "/app", MetricsPort: 19464}

func TestClaimOfPython(t *testing.T) {
	says := func(value string) annotations { return annotations{obsv1.AnnotationPython: value} }
	for name, tc := range map[string]struct {
		kind          string
		own, template annotations
		accepts       string // of the Namespace, where the stack is another's
		elsewhere     bool
		want, warned  bool
	}{
		"a Deployment":                        {kind: KindDeployment, want: true},
		"opted out":                           {kind: KindStatefulSet, own: says("false")},
		"the template's over the workload's":  {kind: KindDaemonSet, own: says("false"), template: says("true"), want: true},
		"mistyped":                            {kind: KindDeployment, own: says("True"), warned: true},
		"a Job":                               {kind: KindJob},
		"a Job that asks":                     {kind: KindJob, own: says("true"), want: true},
		"a CronJob":                           {kind: KindCronJob},
		"a CronJob that asks in its template": {kind: KindCronJob, template: says("true"), want: true},
		"elsewhere":                           {kind: KindDeployment, elsewhere: true},
		"elsewhere, asking alone":             {kind: KindDeployment, elsewhere: true, own: says("true")},
		"elsewhere, accepting variables":      {kind: KindDeployment, elsewhere: true, accepts: "env"},
		"elsewhere, accepting":                {kind: KindDeployment, elsewhere: true, accepts: "env, python", want: true},
		"elsewhere, accepting and opted out":  {kind: KindDeployment, elsewhere: true, accepts: "python", own: says("false")},
		"elsewhere, a Job":                    {kind: KindJob, elsewhere: true, accepts: "python"},
		"elsewhere, a mistyped consent":       {kind: KindDeployment, elsewhere: true, accepts: "pythons", warned: true},
	} {
		own := annotations{obsv1.AnnotationStack: "shop/shop"}
		if tc.elsewhere {
			own[obsv1.AnnotationStack] = "team/shop"
		}
		maps.Copy(own, tc.own)
		namespace := namespaceMeta(nil)
		if tc.accepts != "" {
			namespace.Annotations = annotations{obsv1.AnnotationAccept: tc.accepts}
		}
		got := ClaimOf(workload(tc.kind, own, tc.template), namespace)
		if got.Python != tc.want || (got.Warning != "") != tc.warned {
			t.Errorf("%s: python %v with the warning %q, want %v", name, got.Python, got.Warning, tc.want)
		}
	}
}

// A stamped Pod has what its template was granted; one of its own has to ask.
func TestPodClaimOfPython(t *testing.T) {
	for name, tc := range map[string]struct {
		labels, own annotations
		want        bool
	}{
		"stamped":            {labels: pythonStamp.Labels(), want: true},
		"stamped, opted out": {labels: pythonStamp.Labels(), own: annotations{obsv1.AnnotationPython: "false"}},
		"of its own":         {own: annotations{obsv1.AnnotationStack: "shop"}},
		"of its own, asking": {
			own: annotations{obsv1.AnnotationStack: "shop", obsv1.AnnotationPython: "true"}, want: true,
		},
		"labelled": {labels: annotations{obsv1.StampStack: "shop"}},
		"labelled, asking": {
			labels: annotations{obsv1.StampStack: "shop"}, own: annotations{obsv1.AnnotationPython: "true"}, want: true,
		},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, Annotations: tc.own}}
		if got := PodClaim(pod, pythonStamp.Stack.Namespace, namespaceMeta(nil)).Python; tc.labels[obsv1.StampVersion] == "" {
			if got = PodClaim(pod, "shop", namespaceMeta(nil)).Python; got != tc.want {
				t.Errorf("%s: python %v, want %v", name, got, tc.want)
			}
		} else if got != tc.want {
			t.Errorf("%s: python %v, want %v", name, got, tc.want)
		}
	}
}

func TestStampWithPythonIsReadAsItIsWritten(t *testing.T) {
	if got, _ := StampOf(pythonStamp.Labels(), pythonStamp.Annotations()); got != pythonStamp {
		t.Errorf("stamp = %+v, want %+v", got, pythonStamp)
	}
	// Anybody may write these, and no Pod may fail by it.
	for _, port := range []string{"", "0", "80", "0999", "65001", "99999", "1e4", "-19464", "19464 "} {
		annotations := pythonStamp.Annotations()
		annotations[obsv1.StampMetricsPort] = port
		if got, _ := StampOf(pythonStamp.Labels(), annotations); got.MetricsPort != 0 {
			t.Errorf("the port %q is taken for %d", port, got.MetricsPort)
		}
	}
	for _, hash := range []string{"A", "x_y", "0.a"} {
		labels := pythonStamp.Labels()
		labels[obsv1.StampPython] = hash
		got, _ := StampOf(labels, pythonStamp.Annotations())
		if got.Python != "" || got.PythonPath != "" || got.MetricsPort != 0 {
			t.Errorf("the bundle %q is taken for one: %+v", hash, got)
		}
	}
}

func TestPodPatchMountsTheBundleOnce(t *testing.T) {
	valueFrom := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "absent"},
		{Name: "value", Env: append(make([]corev1.EnvVar, 0, 8), corev1.EnvVar{Name: "PYTHONPATH", Value: "/src"})},
		{Name: "from", Env: []corev1.EnvVar{{Name: "PYTHONPATH", ValueFrom: valueFrom}, {Name: "A"}}},
	}}}
	pod.Labels = pythonStamp.Labels()
	before := pod.DeepCopy()
	claim := Claim{PythonPath: pythonStamp.PythonPath}
	got := patched(t, pod, PodPatch(pod, pythonStamp, claim))
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Errorf("the Pod that was asked about changed:\n%s", diff)
	}
	var paths []string
	for i, c := range got.Spec.Containers {
		for _, env := range c.Env {
			paths = append(paths, env.Name+"="+env.Value)
		}
		if port := int32(19464 + i); len(c.Ports) != 1 || c.Ports[0].ContainerPort != port || len(c.VolumeMounts) != 1 {
			t.Errorf("container %s has the ports %+v and mounts %+v", c.Name, c.Ports, c.VolumeMounts)
		}
	}
	want := []string{
		"PYTHONPATH=/obstack/python:/app", "OBSTACK_METRICS_PORT=19464",
		"PYTHONPATH=/obstack/python:/src", "OBSTACK_METRICS_PORT=19465",
		"OBSTACK_APP_PYTHONPATH=", "A=", "PYTHONPATH=/obstack/python:$(OBSTACK_APP_PYTHONPATH)", "OBSTACK_METRICS_PORT=19466",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if again := PodPatch(got, pythonStamp, claim); len(again) > 0 {
		t.Errorf("repeated on its own result it does %+v", again)
	}
}

// A template keeps the bundle that it has for as long as the operator carries it, so that an
// operator with a newer one rolls nothing.
func TestBundlesOfATemplate(t *testing.T) {
	bundles := Bundles{
		New: "0b", Carried: func(hash string) bool { return hash == "0b" || hash == "0a" },
		Unwritten: map[string]bool{"full": true},
	}
	for name, tc := range map[string]struct {
		had       string
		refused   bool
		namespace string
		none      bool // There is none to give.
		want      string
	}{
		"new":                                {want: "0b"},
		"the one of now":                     {had: "0b", want: "0b"},
		"the one before":                     {had: "0a", want: "0a"},
		"one that is not carried":            {had: "09", want: "0b"},
		"granted no more":                    {had: "0a", refused: true},
		"where none could be written":        {namespace: "full"},
		"where it has one, and none could":   {had: "09", namespace: "full", want: "09"},
		"while there is none to give":        {none: true},
		"while there is none, and it has it": {had: "09", none: true, want: "09"},
	} {
		w := workload(KindDeployment, nil, nil)
		w.Namespace = tc.namespace
		stamp := pythonStamp
		stamp.Python = tc.had
		w.Spec.Template.Metadata.Labels = stamp.Labels()
		of := bundles
		if tc.none {
			of = Bundles{}
		}
		if got := of.Of(&Candidate{Workload: w, Python: !tc.refused}); got != tc.want {
			t.Errorf("%s: bundle %q, want %q", name, got, tc.want)
		}
	}
}

// Only who asks for another path, port or bundle is rolled out for it.
func TestPlanRollsOutForPython(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Python = &obsv1.PythonSpec{}
	own := annotations{obsv1.AnnotationStack: "shop", obsv1.AnnotationPythonPath: "/app"}
	stamp := pythonStamp
	stamp.Stack, stamp.ConfigHash = named("shop", "shop").Stack, wantStamp.ConfigHash
	const rolls = "[Deployment shop/api 0]"
	for name, tc := range map[string]struct {
		edit func(*Stamp)
		spec *obsv1.PythonSpec
		want string
	}{
		"as it is":       {spec: &obsv1.PythonSpec{}, want: "[]"},
		"another port":   {spec: &obsv1.PythonSpec{Metrics: obsv1.PythonMetrics{Port: 9500}}, want: rolls},
		"another path":   {spec: &obsv1.PythonSpec{}, edit: func(s *Stamp) { s.PythonPath = "" }, want: rolls},
		"no metrics":     {spec: &obsv1.PythonSpec{Metrics: obsv1.PythonMetrics{Mode: "Disabled"}}, want: rolls},
		"a newer bundle": {spec: &obsv1.PythonSpec{}, edit: func(s *Stamp) { s.Python = "09" }, want: rolls},
		"none any more":  {want: rolls},
		"none, and none asked for": {
			edit: func(s *Stamp) { *s = s.withBundle("") }, want: "[]",
		},
	} {
		w := workload(KindDeployment, own, nil)
		has := stamp
		if tc.edit != nil {
			tc.edit(&has)
		}
		w.Spec.Template.Metadata.Labels, w.Spec.Template.Metadata.Annotations = has.Labels(), has.Annotations()
		stack.Spec.Python, stack.Spec.Environment = tc.spec, "production"
		state := State{Now: now, Bundles: Bundles{New: "0b", Carried: func(hash string) bool { return hash == "0a" }}}
		state.Add(stack, w, ClaimOf(w, namespaceMeta(nil)), namespaceMeta(nil), nil)
		plan := NewPlan(stack, state, func(*Candidate) string { return wantStamp.ConfigHash })
		if got := fmt.Sprint(patches(plan)); got != tc.want {
			t.Errorf("%s: patches %s, want %s", name, got, tc.want)
		}
	}
}

// TestPodPatchFindsPortsSoon whatever a Pod declares, and none where all are taken: whoever may
// create Pods has those of all others wait otherwise.
func TestPodPatchFindsPortsSoon(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "api"}, {
		Name: "web", Ports: make([]corev1.ContainerPort, 200_000),
	}}}}
	for port := pythonStamp.MetricsPort; port <= math.MaxUint16; port++ {
		pod.Spec.Containers[1].Ports = append(pod.Spec.Containers[1].Ports, corev1.ContainerPort{ContainerPort: port})
	}
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ops := PodPatch(pod, pythonStamp, Claim{})
	if soon.Err() != nil {
		t.Error("it took more than 5 s")
	}
	if got := fmt.Sprint(ops); !strings.Contains(got, PythonFolder) || strings.Contains(got, variableMetricsPort) {
		t.Errorf("with all ports taken it does %s", got)
	}
}
