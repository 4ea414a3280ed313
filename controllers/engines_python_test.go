// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

const (
	bundleHash  = "00112233445566778899aabbccddeeff"
	olderBundle = "ffeeddccbbaa99887766554433221100"
	pythonKey   = obsv1.AnnotationPython
	pathKey     = obsv1.AnnotationPythonPath
)

// pythonStack gives each namespace the stack py, with a bundle for Python.
func pythonStack(t *testing.T, namespaces map[string]string) {
	t.Helper()
	for _, namespace := range namespaces {
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "py"}}
		stack.Spec.Python = &obsv1.PythonSpec{Metrics: obsv1.PythonMetrics{Port: 9500}}
		create(t, stack)
		stack.Status.ConfigHash, stack.Status.Python = version, &obsv1.PythonStatus{Bundle: bundleHash}
		if err := live.Status().Update(t.Context(), stack); err != nil {
			t.Fatal(err)
		}
	}
}

// pythonStamp are the labels of a whole stamp with a bundle.
func pythonStamp(more ...string) map[string]string {
	return wholeStamp(append([]string{obsv1.StampStack, "py", obsv1.StampPython, bundleHash}, more...)...)
}

func ownEnv(env ...corev1.EnvVar) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.Containers[0].Env = env }
}

var (
	fromField = corev1.EnvVar{Name: "PYTHONPATH", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['path']"},
	}}
	ported = keys(obsv1.StampMetricsPort, "19464")
)

// lastPorts are all from 65000 on but one, and atLast says so as pythonPart does.
var lastPorts, atLast = func() (ports []corev1.ContainerPort, at string) {
	for port := int32(65000); port < 65535; port++ {
		ports, at = append(ports, declared(port)...), at+fmt.Sprint("@", port)
	}
	return ports, at
}()

// tooLong has a letter of two bytes more than a path may have.
var tooLong = strings.Repeat("ä", 4001)

func withPorts(more ...string) map[string]string {
	return keys(append([]string{obsv1.StampMetricsPort, "19464"}, more...)...)
}

// pythonCases are Pods, and what of the bundle for Python comes into them: the name of its
// ConfigMap, and for each container that has it PYTHONPATH and the port that it declares.
var pythonCases = map[string]injectionCase{
	"a stamp without": {labels: wholeStamp()},
	"stamped": {
		labels: pythonStamp(), annotations: ported,
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@19464 web=/obstack/python:$(PYTHONPATH)@19465",
	},
	"without metrics": {
		labels: pythonStamp(),
		want:   bundleHash + " api=/obstack/python:$(PYTHONPATH) web=/obstack/python:$(PYTHONPATH)",
	},
	"a choice of containers": {
		labels: pythonStamp(), annotations: withPorts(obsv1.StampContainers, "web"),
		want: bundleHash + " web=/obstack/python:$(PYTHONPATH)@19464",
	},
	"the image's own path in the stamp": {
		labels: pythonStamp(), annotations: keys(obsv1.StampPythonPath, "/app", choice, "api"),
		want: bundleHash + " api=/obstack/python:/app",
	},
	"the image's own path in the Pod": {
		labels: pythonStamp(), annotations: keys(obsv1.StampPythonPath, "/app", pathKey, "/code:/code/src", choice, "api"),
		want: bundleHash + " api=/obstack/python:/code:/code/src",
	},
	"the container's own path": {
		labels: pythonStamp(), annotations: keys(pathKey, "/app", choice, "api"),
		edit: ownEnv(corev1.EnvVar{Name: "PYTHONPATH", Value: "/src"}, corev1.EnvVar{Name: "B", Value: "2"}),
		want: bundleHash + " api=/obstack/python:/src",
	},
	"the container's last path counts": {
		labels: pythonStamp(), annotations: keys(choice, "api"),
		edit: ownEnv(corev1.EnvVar{Name: "PYTHONPATH", Value: "/one"}, corev1.EnvVar{Name: "PYTHONPATH", Value: "/two"}),
		want: bundleHash + " api=/one;/obstack/python:/two",
	},
	"an empty path": {
		labels: pythonStamp(), annotations: keys(choice, "api"), edit: ownEnv(corev1.EnvVar{Name: "PYTHONPATH"}),
		want: bundleHash + " api=/obstack/python",
	},
	"OpenTelemetry's in front": {
		labels: pythonStamp(), annotations: keys(choice, "api"),
		edit: ownEnv(corev1.EnvVar{Name: "PYTHONPATH", Value: "/otel:/src"}),
		want: bundleHash + " api=/obstack/python:/otel:/src",
	},
	"the path from elsewhere": {
		labels: pythonStamp(), annotations: keys(choice, "api"), edit: ownEnv(fromField, corev1.EnvVar{Name: "B"}),
		want: bundleHash + " api=/obstack/python:$(OBSTACK_APP_PYTHONPATH)<metadata.annotations['path']",
	},
	"what is mounted already": {
		labels: pythonStamp(), annotations: keys(choice, "api", obsv1.MarkInjected, version), edit: mountedAlready,
		want: bundleHash + " api=/obstack/python:/app@19464",
	},
	"what others mount": {
		labels: pythonStamp(), annotations: withPorts(choice, "api"), edit: mountedByOthers,
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@80@19464",
	},
	"a port that the container declares": {
		labels: pythonStamp(), annotations: withPorts(choice, "api"),
		edit: func(pod *corev1.Pod) { pod.Spec.Containers[0].Ports = declared(19464) },
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@19464@19465",
	},
	"ports that other containers declare": {
		labels: pythonStamp(), annotations: ported,
		edit: func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init", Ports: declared(19465)}}
			pod.Spec.Containers[1].Ports = declared(80, 19464, 19467)
		},
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@19466 " +
			"web=/obstack/python:$(PYTHONPATH)@80@19464@19467@19468",
	},
	"a container beside one that is mounted already": {
		labels: pythonStamp(), annotations: withPorts(obsv1.MarkInjected, version), edit: mountedAlready,
		want: bundleHash + " api=/obstack/python:/app@19464 web=/obstack/python:$(PYTHONPATH)@19465",
	},
	"one port left": {
		labels: pythonStamp(), annotations: keys(obsv1.StampMetricsPort, "65000"),
		edit: func(pod *corev1.Pod) { pod.Spec.Containers[1].Ports = lastPorts },
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@65535 web=/obstack/python:$(PYTHONPATH)" + atLast,
	},
	"on the host's network": {
		labels: pythonStamp(), annotations: withPorts(choice, "api"),
		edit: func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)!off",
	},
	"a release beside": {
		labels: pythonStamp(), annotations: withPorts(choice, "api", ofWorkload, "w"),
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)@19464",
	},
	"a path that is too long": {
		labels: pythonStamp(), annotations: keys(choice, "api", pathKey, tooLong, obsv1.StampPythonPath, "/app"),
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)",
	},
	"a path of many letters": {
		labels: pythonStamp(), annotations: keys(choice, "api", pathKey, tooLong[2:]),
		want: bundleHash + " api=/obstack/python:" + tooLong[2:],
	},
	"opted out":              {labels: pythonStamp(), annotations: keys(pythonKey, "false")},
	"opted out of all":       {labels: pythonStamp(), annotations: keys(inject, "false")},
	"a word that is no word": {labels: pythonStamp(), annotations: keys(pythonKey, "no")},
	"a bundle that cannot be": {
		labels: pythonStamp(obsv1.StampPython, "A_B"), annotations: ported,
	},
	"ports that cannot be": {
		labels: pythonStamp(), annotations: keys(choice, "api", obsv1.StampMetricsPort, "70000"),
		want: bundleHash + " api=/obstack/python:$(PYTHONPATH)",
	},
	"of a stack elsewhere, without consent": {labels: pythonStamp(obsv1.StampNamespace, "elsewhere")},
	"a Pod of its own":                      {annotations: keys(stackKey, "py")},
	"a Pod of its own, asking": {
		annotations: keys(stackKey, "py", pythonKey, "true"),
		want:        bundleHash + " api=/obstack/python:$(PYTHONPATH)@9500 web=/obstack/python:$(PYTHONPATH)@9501",
	},
	"a Pod of its own, asking for what the stack has not": {annotations: keys(stackKey, "shop", pythonKey, "true")},
	"a labelled Pod, asking": {
		labels: keys(obsv1.StampStack, "py"), annotations: keys(pythonKey, "true", choice, "api", pathKey, "/app"),
		want: bundleHash + " api=/obstack/python:/app@9500",
	},
}

func declared(numbers ...int32) (ports []corev1.ContainerPort) {
	for _, number := range numbers {
		ports = append(ports, corev1.ContainerPort{ContainerPort: number, Protocol: corev1.ProtocolTCP})
	}
	return ports
}

func mountedAlready(pod *corev1.Pod) {
	injectedIn(0, 1, 2)(pod)
	api := &pod.Spec.Containers[0]
	api.Env = []corev1.EnvVar{
		{Name: "PYTHONPATH", Value: "/obstack/python:/app"}, {Name: "OBSTACK_METRICS_PORT", Value: "19464"},
	}
	api.Ports = []corev1.ContainerPort{{Name: "obstack-py-0", ContainerPort: 19464}}
	api.VolumeMounts = []corev1.VolumeMount{{Name: "obstack-python", MountPath: "/obstack/python", ReadOnly: true}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "obstack-python", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "obstack-python-" + bundleHash}, Optional: new(true),
		},
	}}}
}

func mountedByOthers(pod *corev1.Pod) {
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: empty}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}
}

// Code comes into the same containers by the same means, whatever injects it.
func TestEveryEngineMountsTheBundleForPythonTheSame(t *testing.T) {
	namespaces := engineNamespaces(t, nil)
	pythonStack(t, namespaces)
	awaitPolicies(t, namespaces["policy"])
	for name, tc := range pythonCases {
		t.Run(name, func(t *testing.T) {
			results := map[string]string{}
			for _, engine := range engines {
				pod := tc.pod(namespaces[engine])
				if err := live.Create(t.Context(), pod, client.DryRunAll); err != nil {
					t.Fatalf("%s: %v", engine, err)
				}
				if got := pythonPart(pod); got != tc.want {
					t.Errorf("%s: mounted %q, want %q", engine, got, tc.want)
				}
				results[engine] = injectedPart(t, pod, namespaces[engine]) + fmt.Sprint(pod.Spec.Volumes)
			}
			for _, engine := range engines[1:] {
				if diff := cmp.Diff(results[engines[0]], results[engine]); diff != "" {
					t.Errorf("-%s +%s:\n%s", engines[0], engine, diff)
				}
			}
		})
	}
}

// A Pod of another namespace than its stack's gets code by what that Namespace accepts, whatever
// its stamp says, and settings anyway.
func TestEveryEngineMountsTheBundleElsewhereByConsent(t *testing.T) {
	awaitPolicies(t, engineNamespaces(t, nil)["policy"])
	for accepts, want := range map[string]string{
		"": "", "env": "", "pythons": "", "no python": "",
		"python":       bundleHash + " api=/obstack/python:$(PYTHONPATH)",
		"env , python": bundleHash + " api=/obstack/python:$(PYTHONPATH)",
	} {
		for _, engine := range engines {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				GenerateName: "test-", Labels: keys(labelEngine, engine), Annotations: keys(obsv1.AnnotationAccept, accepts),
			}}
			create(t, ns)
			pod := injectionCase{
				labels: pythonStamp(obsv1.StampNamespace, "elsewhere"), annotations: keys(choice, "api"),
			}.pod(ns.Name)
			if err := live.Create(t.Context(), pod, client.DryRunAll); err != nil {
				t.Fatalf("%s: %v", engine, err)
			}
			if got := pythonPart(pod); got != want || len(pod.Spec.Containers[0].EnvFrom) == 0 {
				t.Errorf("%s, where %q is accepted: mounted %q, want %q, and %v", engine, accepts, got, want,
					pod.Spec.Containers[0].EnvFrom)
			}
		}
	}
}

// pythonPart says where a Pod has the bundle, in which containers, and with which ports.
func pythonPart(pod *corev1.Pod) string {
	var parts []string
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == "obstack-python" && *volume.ConfigMap.Optional {
			parts = append(parts, strings.TrimPrefix(volume.ConfigMap.Name, "obstack-python-"))
		}
	}
	for _, c := range pod.Spec.Containers {
		for _, mount := range c.VolumeMounts {
			if mount.Name == "obstack-python" && mount.MountPath == "/obstack/python" && mount.ReadOnly {
				parts = append(parts, c.Name+"="+pythonOf(c))
			}
		}
	}
	return strings.Join(parts, " ")
}

func pythonOf(c corev1.Container) string {
	var paths, rest []string
	port := ""
	for _, env := range c.Env {
		switch env.Name {
		case "PYTHONPATH":
			paths = append(paths, env.Value)
		case "OBSTACK_APP_PYTHONPATH":
			rest = append(rest, "<"+env.ValueFrom.FieldRef.FieldPath)
		case "OBSTACK_METRICS":
			rest = append(rest, "!"+env.Value)
		case "OBSTACK_METRICS_PORT":
			port = env.Value
		}
	}
	for _, p := range c.Ports {
		rest = append(rest, fmt.Sprint("@", p.ContainerPort))
	}
	if port != "" && !strings.HasSuffix(strings.Join(rest, ""), "@"+port) {
		rest = append(rest, "?"+port) // No port of the container is that of its metrics.
	}
	return strings.Join(paths, ";") + strings.Join(rest, "")
}

// pythonStamping are workloads of the stack py, and what their templates name of Python.
var pythonStamping = map[string]struct {
	own, template map[string]string
	job           bool
	// older has the template name an older bundle before its owner changes something.
	older bool
	// withdrawn is the bundle that the operator took off before that.
	withdrawn string
	change    func(*appsv1.Deployment)
	want      string
}{
	"annotated":                 {own: keys(stackKey, "py"), want: "python=" + bundleHash + " metrics-port=9500"},
	"opted out":                 {own: keys(stackKey, "py", pythonKey, "false")},
	"opted out in its template": {own: keys(stackKey, "py"), template: keys(pythonKey, "false")},
	"opted in in its template": {
		own: keys(stackKey, "py", pythonKey, "false"), template: keys(pythonKey, "true"),
		want: "python=" + bundleHash + " metrics-port=9500",
	},
	"a word that is no word": {own: keys(stackKey, "py", pythonKey, "yes")},
	"with a path": {
		own:  keys(stackKey, "py", pathKey, "/app"),
		want: "python=" + bundleHash + " python-path=/app metrics-port=9500",
	},
	"with a path that is too long": {
		own:  keys(stackKey, "py", pathKey, tooLong),
		want: "python=" + bundleHash + " metrics-port=9500",
	},
	"with a path that has no room twice": {
		own: keys(stackKey, "py"), template: keys(pathKey, strings.Repeat("/", 200<<10)),
		want: "python=" + bundleHash + " metrics-port=9500",
	},
	"of a stack without": {own: keys(stackKey, "shop", pathKey, "/app")},
	"a Job":              {own: keys(stackKey, "py"), job: true},
	"a Job that asks": {
		own: keys(stackKey, "py", pythonKey, "true"), job: true,
		want: "python=" + bundleHash + " metrics-port=9500",
	},
	"an older bundle, scaled": {
		own: keys(stackKey, "py"), older: true,
		change: func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) },
		want:   "python=" + olderBundle + " metrics-port=9500",
	},
	"an older bundle, deployed without stamp": {
		own: keys(stackKey, "py"), older: true, change: dropStamp,
		want: "python=" + olderBundle + " metrics-port=9500",
	},
	"an older bundle, deployed without stamp while its stack is gone": {
		own: keys(stackKey, "py"), older: true,
		change: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Annotations = keys(stackKey, "none")
		},
		want: "python=" + olderBundle + " metrics-port=9500",
	},
	"an older bundle, changed by its owner": {
		own: keys(stackKey, "py"), older: true,
		change: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:2" },
		want:   "python=" + bundleHash + " metrics-port=9500",
	},
	"withdrawn, changed by its owner": {
		own: keys(stackKey, "py"), withdrawn: bundleHash,
		change: func(d *appsv1.Deployment) { d.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(7)) },
	},
	"withdrawn, with another image": {
		own: keys(stackKey, "py"), withdrawn: bundleHash,
		change: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:2" },
		want:   "python=" + bundleHash + " metrics-port=9500",
	},
	"withdrawn, with another bundle": {
		own: keys(stackKey, "py"), withdrawn: olderBundle,
		change: func(d *appsv1.Deployment) { d.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(7)) },
		want:   "python=" + bundleHash + " metrics-port=9500",
	},
}

func TestEveryEngineStampsTheBundleForPythonTheSame(t *testing.T) {
	namespaces := engineNamespaces(t, nil)
	pythonStack(t, namespaces)
	awaitPolicies(t, namespaces["policy"])
	for _, engine := range engines {
		for name, tc := range pythonStamping {
			t.Run(engine+"/"+name, func(t *testing.T) {
				d := annotatedDeployment(namespaces[engine], "api", "")
				d.Annotations, d.Spec.Template.Annotations = tc.own, tc.template
				if tc.job {
					job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "api", Annotations: tc.own}}
					job.Spec.Template = *d.Spec.Template.DeepCopy()
					job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
					if err := live.Create(t.Context(), job, client.DryRunAll); err != nil {
						t.Fatal(err)
					}
					d.Spec.Template = job.Spec.Template
				} else {
					create(t, d)
					defer remove(t, d)
				}
				if tc.older {
					d.Spec.Template.Labels[obsv1.StampPython] = olderBundle
					if err := live.Update(t.Context(), d, client.FieldOwner(obsv1.FieldManager)); err != nil {
						t.Fatal(err)
					}
				}
				if tc.withdrawn != "" {
					withdraw(t, d, tc.withdrawn)
				}
				if tc.change != nil {
					tc.change(d)
					if err := live.Update(t.Context(), d); err != nil {
						t.Fatal(err)
					}
				}
				if got := pythonStampOf(d); got != tc.want {
					t.Errorf("stamp = %q, want %q", got, tc.want)
				}
			})
		}
	}
}

// withdraw takes a bundle off a Deployment, as the operator does.
func withdraw(t *testing.T, d *appsv1.Deployment, bundle string) {
	t.Helper()
	raw, err := json.Marshal(d)
	w := &policy.Workload{}
	if err == nil {
		err = json.Unmarshal(raw, w)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Spec.Template.Metadata.Labels[obsv1.StampPython] = bundle
	c := policy.Candidate{Workload: w}
	c.Break(policy.Withdrawal{Cause: policy.CauseExited})
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[obsv1.AnnotationPythonWithdrawn] = c.Breaks.Annotation()
	delete(d.Spec.Template.Labels, obsv1.StampPython)
	delete(d.Spec.Template.Annotations, obsv1.StampMetricsPort)
	if err := live.Update(t.Context(), d, client.FieldOwner(obsv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
}

func pythonStampOf(d *appsv1.Deployment) string {
	var parts []string
	for _, key := range policy.StampLabels {
		if value := d.Spec.Template.Labels[key]; key == obsv1.StampPython && value != "" {
			parts = append(parts, "python="+value)
		}
	}
	for _, key := range []string{obsv1.StampPythonPath, obsv1.StampMetricsPort} {
		if value := d.Spec.Template.Annotations[key]; value != "" {
			parts = append(parts, strings.TrimPrefix(key, "inject.obstack.dev/")+"="+value)
		}
	}
	return strings.Join(parts, " ")
}
