// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilversion "k8s.io/apimachinery/pkg/util/version"
)

// install is the remedy for what is missing.
const install = "install it again: helm upgrade --install obstack oci://ghcr.io/obstack/charts/obstack " +
	"-n obstack-system --create-namespace, or kubectl apply -k config/default"

// operator is a Deployment that runs one.
type operator struct {
	deployment *appsv1.Deployment
	container  *corev1.Container
	// flags are those of the command line; defaults are not in it.
	flags map[string]string
}

// operatorOf a Deployment reports whether it runs the operator.
func operatorOf(deployment *appsv1.Deployment) (operator, bool) {
	pod := &deployment.Spec.Template.Spec
	index := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == "manager" })
	if index < 0 {
		return operator{}, false
	}
	o := operator{deployment: deployment, container: &pod.Containers[index], flags: map[string]string{}}
	for _, arg := range o.container.Args {
		name, value, found := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !found {
			value = "true"
		}
		o.flags[name] = strings.ReplaceAll(value, "$(POD_NAMESPACE)", deployment.Namespace)
	}
	return o, true
}

func (o *operator) String() string { return o.deployment.Namespace + "/" + o.deployment.Name }

// account is the name of its ServiceAccount.
func (o *operator) account() string {
	return cmp.Or(o.deployment.Spec.Template.Spec.ServiceAccountName, "default")
}

// version is the tag of its image; empty if it has none.
func (o *operator) version() string {
	image := o.container.Image[strings.LastIndex(o.container.Image, "/")+1:]
	image, _, _ = strings.Cut(image, "@")
	_, tag, _ := strings.Cut(image, ":")
	return tag
}

// watched are the namespaces that it is confined to; none if it is not.
func (o *operator) watched() []string {
	return strings.FieldsFunc(o.flags["watch-namespaces"], func(r rune) bool { return r == ',' || r == ' ' })
}

// servesWebhooks and policy say what injects: the operator, or a policy of that name.
func (o *operator) servesWebhooks() bool {
	return !slices.Contains([]string{"", "0"}, o.flags["webhook-bind-address"])
}

func (o *operator) policy() string { return o.flags["injection-policy"] }

// makesCertificate reports whether the operator itself does.
func (o *operator) makesCertificate() bool {
	return o.servesWebhooks() && o.flags["webhook-cert-secret"] != ""
}

// certificate names the Secret with that of the webhooks; none if it serves none, or not from one.
func (o *operator) certificate() types.NamespacedName {
	if !o.servesWebhooks() {
		return types.NamespacedName{}
	}
	if namespace, name, found := strings.Cut(o.flags["webhook-cert-secret"], "/"); found {
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	for _, mount := range o.container.VolumeMounts {
		for _, volume := range o.deployment.Spec.Template.Spec.Volumes {
			if mount.MountPath == o.flags["webhook-cert-dir"] && mount.Name == volume.Name && volume.Secret != nil {
				return types.NamespacedName{Namespace: o.deployment.Namespace, Name: volume.Secret.SecretName}
			}
		}
	}
	return types.NamespacedName{}
}

// oldestKubernetes is what obstack needs.
var oldestKubernetes = utilversion.MustParse("1.30")

// checkVersions of Kubernetes, the operator and this plugin.
func checkVersions(in *installation) (findings []DoctorFinding) {
	const name = "versions"
	if kubernetes, err := utilversion.Parse(in.kubernetes); err == nil && kubernetes.LessThan(oldestKubernetes) {
		findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
			Message: fmt.Sprintf("Kubernetes is %s, and obstack needs 1.30 or newer", in.kubernetes),
			Remedy:  "upgrade the cluster",
		})
	}
	own, err := utilversion.ParseSemantic(version)
	says := []string{"Kubernetes " + in.kubernetes}
	for _, o := range in.operators {
		says = append(says, "operator "+cmp.Or(o.version(), "of an image without a tag"))
		theirs, theirErr := utilversion.ParseSemantic(o.version())
		if err != nil || theirErr != nil || own.Major() == theirs.Major() && own.Minor() == theirs.Minor() {
			continue
		}
		findings = append(findings, DoctorFinding{Name: name, State: StateWarning,
			Message: fmt.Sprintf("this plugin is %s, and operator %s is %s: what follows may be about the difference",
				version, &o, o.version()),
			Remedy: "install the plugin of the operator's version, or upgrade the operator",
		})
	}
	if in.monitoring != "" {
		says = append(says, "prometheus-operator "+in.monitoring)
	}
	return orOK(findings, ok(name, "%s, plugin %s", strings.Join(says, ", "), version))
}

// checkOperators says whether one runs.
func checkOperators(in *installation) (findings []DoctorFinding) {
	const name = "operator"
	if findings := in.unread(name, ofOperators); findings != nil {
		return findings
	}
	if len(in.operators) == 0 && in.operatorsIn != "" {
		return []DoctorFinding{{Name: name, State: StateUnknown,
			Message: "the operator is not in namespace " + in.operatorsIn + ", and you may not look for it elsewhere",
			Remedy:  "write -n with its namespace, or ask for a role that lets you list Deployments",
		}}
	}
	if len(in.operators) == 0 {
		return []DoctorFinding{{Name: name, State: StateProblem,
			Message: "there is no Deployment of the operator: nothing keeps the stacks", Remedy: install}}
	}
	var names []string
	for i := range in.operators {
		o := &in.operators[i]
		names = append(names, o.String())
		findings = append(findings, o.unavailable()...)
	}
	unconfined := func(o operator) bool { return len(o.watched()) == 0 }
	if len(in.operators) > 1 && slices.ContainsFunc(in.operators, unconfined) {
		findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
			Message: "several operators keep the same stacks: " + some(names),
			Remedy:  "uninstall all but one, or give each namespaces of its own (watchNamespaces)"})
	}
	return orOK(findings, ok(name, "%s is available", some(names)))
}

func (o *operator) unavailable() []DoctorFinding {
	wanted, available := int32(1), o.deployment.Status.AvailableReplicas
	if o.deployment.Spec.Replicas != nil {
		wanted = *o.deployment.Spec.Replicas
	}
	if available >= wanted && wanted > 0 {
		return nil
	}
	finding := DoctorFinding{Name: "operator", State: StateProblem,
		Message: fmt.Sprintf("%d of %d Pods of Deployment %s are available", available, wanted, o),
		Remedy: fmt.Sprintf("kubectl -n %s describe deployment/%s, and kubectl -n %[1]s logs deployment/%[2]s",
			o.deployment.Namespace, o.deployment.Name),
	}
	if available > 0 {
		finding.State = StateWarning
	}
	if wanted == 0 {
		finding.Remedy = fmt.Sprintf("kubectl -n %s scale deployment/%s --replicas=1", o.deployment.Namespace,
			o.deployment.Name)
	}
	return []DoctorFinding{finding}
}
