// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// PythonFolder is where the bundle for Python is mounted. config/injection/policies.yaml has it
// too.
const PythonFolder = "/obstack/python"

const (
	pythonVolume = "obstack-python"
	pythonPath   = "PYTHONPATH"
	// appPythonPath has what a container's own PYTHONPATH takes from elsewhere.
	appPythonPath = "OBSTACK_APP_PYTHONPATH"
	// variableMetrics and variableMetricsPort say where the metrics are served.
	variableMetrics     = "OBSTACK_METRICS"
	variableMetricsPort = "OBSTACK_METRICS_PORT"
)

// addBundle adds the volume with the bundle for Python. It is optional, so that a ConfigMap that is
// missing keeps nothing from starting.
func addBundle(pod *corev1.Pod, stamp Stamp) (ops []webhook.JSONPatchOp) {
	has := func(v corev1.Volume) bool { return v.Name == pythonVolume }
	if stamp.Python == "" || slices.ContainsFunc(pod.Spec.Volumes, has) {
		return nil
	}
	volume := corev1.Volume{Name: pythonVolume, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: obsv1.PythonName(stamp.Python)}, Optional: new(true),
	}}}
	if len(pod.Spec.Volumes) == 0 {
		return []webhook.JSONPatchOp{add("/spec/volumes", []corev1.Volume{volume})}
	}
	return []webhook.JSONPatchOp{add("/spec/volumes/-", volume)}
}

// addPython mounts the bundle into a container, and names it in PYTHONPATH.
func addPython(path string, container *corev1.Container, ofImage string) (ops []webhook.JSONPatchOp) {
	if !slices.ContainsFunc(container.VolumeMounts, isBundle) {
		mount := corev1.VolumeMount{Name: pythonVolume, MountPath: PythonFolder, ReadOnly: true}
		if len(container.VolumeMounts) == 0 {
			ops = append(ops, add(path+"/volumeMounts", []corev1.VolumeMount{mount}))
		} else {
			ops = append(ops, add(path+"/volumeMounts/-", mount))
		}
	}
	return append(ops, addPythonPath(path, container, ofImage)...)
}

// isBundle reports whether the bundle for Python is mounted there.
func isBundle(m corev1.VolumeMount) bool { return m.MountPath == PythonFolder }

// addPythonPath puts the bundle in front of what a container has in PYTHONPATH. What the image has
// nobody sees: an annotation may repeat it, and where there is none, $(PYTHONPATH) takes what
// envFrom has of it, or stays as it is, which the bundle knows how to read.
func addPythonPath(path string, container *corev1.Container, ofImage string) []webhook.JSONPatchOp {
	last := -1
	for i := range container.Env {
		if container.Env[i].Name == pythonPath {
			last = i // It is the one that counts.
		}
	}
	if last < 0 {
		value := PythonFolder + ":$(" + pythonPath + ")"
		if ofImage != "" {
			value = PythonFolder + ":" + ofImage
		}
		return []webhook.JSONPatchOp{addEnv(path, container, corev1.EnvVar{Name: pythonPath, Value: value})}
	}
	own, at := container.Env[last], path+"/env/"+strconv.Itoa(last)
	switch {
	case own.ValueFrom != nil:
		return []webhook.JSONPatchOp{
			add(at+"/name", appPythonPath),
			addEnv(path, container, corev1.EnvVar{Name: pythonPath, Value: PythonFolder + ":$(" + appPythonPath + ")"}),
		}
	case own.Value == "":
		return []webhook.JSONPatchOp{add(at+"/value", PythonFolder)}
	case strings.HasPrefix(own.Value+":", PythonFolder+":"):
		return nil
	default:
		return []webhook.JSONPatchOp{add(at+"/value", PythonFolder+":"+own.Value)}
	}
}

// maxPort is the greatest port of a first container.
const maxPort = 65000

// addMetricsPort gives the container with that index the next free port of its Pod. On the host's
// network it gets none, which would be one of the node's.
func addMetricsPort(path string, container *corev1.Container, index int, host bool,
	free func() int32) []webhook.JSONPatchOp {
	variable := variableMetricsPort
	if host {
		variable = variableMetrics
	}
	if setsVariable(container, variable) {
		return nil
	}
	if host {
		return []webhook.JSONPatchOp{addEnv(path, container, corev1.EnvVar{Name: variable, Value: "off"})}
	}
	number := free()
	if number > math.MaxUint16 {
		return nil
	}
	ops := []webhook.JSONPatchOp{
		addEnv(path, container, corev1.EnvVar{Name: variable, Value: strconv.Itoa(int(number))}),
	}
	port := corev1.ContainerPort{
		Name: "obstack-py-" + strconv.Itoa(index), ContainerPort: number, Protocol: corev1.ProtocolTCP,
	}
	if len(container.Ports) == 0 {
		return append(ops, add(path+"/ports", []corev1.ContainerPort{port}))
	}
	return append(ops, add(path+"/ports/-", port))
}

// freePorts returns what gives the ports from the first one on, but for those that a container of
// the Pod declares: an application must be able to bind its own.
func freePorts(pod *corev1.Pod, first int32) func() int32 {
	declared := sets.Set[int32]{} // A request may declare tens of thousands.
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			declared.Insert(port.ContainerPort)
		}
	}
	next := first
	return func() int32 {
		for declared.Has(next) {
			next++
		}
		next++
		return next - 1
	}
}
