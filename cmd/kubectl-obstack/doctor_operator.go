// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilversion "k8s.io/apimachinery/pkg/util/version"

	"obstack.dev/obstack/controllers/metadata"
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
	args := o.container.Args
	for i, arg := range args {
		name, value, found := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
			continue
		case !found && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			value = args[i+1]
		case !found:
			value = "true"
		}
		o.flags[name] = strings.ReplaceAll(value, "$(POD_NAMESPACE)", deployment.Namespace)
	}
	return o, true
}

// usualNamespace is where the operator is looked for if nothing says where it is.
const usualNamespace = "obstack-system"

// recognize which of the Deployments that claim to be the operator are: whoever may make
// Deployments may make one that claims to be. Without the flag for the namespace, what only
// administrators of the cluster write says where they are: webhooks, bindings and policies.
func (in *installation) recognize(claim []operator) {
	trusted := in.trusts
	switch {
	case in.operatorsIn != "":
		trusted = func(o *operator) bool { return o.deployment.Namespace == in.operatorsIn }
	case !slices.ContainsFunc(claim, func(o operator) bool { return in.trusts(&o) }):
		trusted = func(o *operator) bool { return o.deployment.Namespace == usualNamespace }
	}
	for i := range claim {
		if trusted(&claim[i]) {
			in.operators = append(in.operators, claim[i])
		} else {
			in.pretenders = append(in.pretenders, claim[i].String())
		}
	}
}

// trusts reports whether what has no namespace leads to an operator, or grants it something.
func (in *installation) trusts(o *operator) bool {
	leads := func(webhook admissionv1.MutatingWebhook) bool {
		return webhook.ClientConfig.Service != nil && webhook.ClientConfig.Service.Namespace == o.deployment.Namespace
	}
	names := func(condition admissionv1.MatchCondition) bool {
		return strings.Contains(condition.Expression, "'"+o.user()+"'")
	}
	return slices.ContainsFunc(in.webhooks, func(configuration *admissionv1.MutatingWebhookConfiguration) bool {
		return slices.ContainsFunc(configuration.Webhooks, leads)
	}) || slices.ContainsFunc(in.validating, func(policy *admissionv1.ValidatingAdmissionPolicy) bool {
		return slices.ContainsFunc(policy.Spec.MatchConditions, names)
	}) || slices.ContainsFunc(in.bindings, func(b binding) bool {
		_, itself := b.grants(o)
		return itself && b.installed && b.namespace == ""
	})
}

func (o *operator) String() string { return o.deployment.Namespace + "/" + o.deployment.Name }

// account is the name of its ServiceAccount.
func (o *operator) account() string {
	return cmp.Or(o.deployment.Spec.Template.Spec.ServiceAccountName, "default")
}

// user is what the API server calls it.
func (o *operator) user() string {
	return "system:serviceaccount:" + o.deployment.Namespace + ":" + o.account()
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

// malformed reports whether its flag for that Secret names none.
func (o *operator) malformed() bool {
	_, ok := metadata.ParseName(o.flags["webhook-cert-secret"], "")
	return o.makesCertificate() && !ok
}

// certificate names the Secret with that of the webhooks; none if it serves none, or not from one.
func (o *operator) certificate() types.NamespacedName {
	if !o.servesWebhooks() {
		return types.NamespacedName{}
	}
	if name, ok := metadata.ParseName(o.flags["webhook-cert-secret"], ""); ok {
		return name
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

// pretending says which Deployments were not believed.
func (in *installation) pretending() []DoctorFinding {
	if len(in.pretenders) == 0 {
		return nil
	}
	return []DoctorFinding{{Name: "operator", State: StateWarning,
		Message: "not looked at, as no webhook, binding or policy of the cluster leads there, though it has the labels of " +
			"the operator: Deployment " + some(in.pretenders),
		Remedy: "if that is the operator, write --operator-namespace; if not, see who made it"}}
}

// noOperator says what is known where none was found.
func (in *installation) noOperator() DoctorFinding {
	switch {
	case in.operatorsIn != "" && !in.operatorsGiven:
		return DoctorFinding{Name: "operator", State: StateUnknown,
			Message: "the operator is not in namespace " + in.operatorsIn + ", and you may not look for it elsewhere",
			Remedy:  "write --operator-namespace, or ask for a role that lets you list Deployments"}
	case in.operatorsIn != "":
		return DoctorFinding{Name: "operator", State: StateProblem, Remedy: install,
			Message: "there is no Deployment of the operator in namespace " + in.operatorsIn}
	case len(in.pretenders) > 0 && len(in.failed[ofWebhooks])+len(in.failed[ofRoles]) > 0:
		return DoctorFinding{Name: "operator", State: StateUnknown,
			Message: "the operator is not in namespace " + usualNamespace + ", and you may not see what leads to it",
			Remedy:  "write --operator-namespace, or ask for a role that lets you list webhooks and bindings"}
	}
	return DoctorFinding{Name: "operator", State: StateProblem, Remedy: install,
		Message: "there is no Deployment of the operator: nothing keeps the stacks"}
}

// checkOperators says whether one runs.
func checkOperators(in *installation) (findings []DoctorFinding) {
	const name = "operator"
	if findings := in.unread(name, ofOperators); findings != nil {
		return findings
	}
	findings = in.pretending()
	if len(in.operators) == 0 {
		return append(findings, in.noOperator())
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
