// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/config"
)

// roleKey names a role; that of the cluster has no namespace.
type roleKey struct{ namespace, name string }

func (k roleKey) String() string {
	if k.namespace == "" {
		return "ClusterRole " + k.name
	}
	return "Role " + k.namespace + "/" + k.name
}

// binding grants a role in a namespace, or in all.
type binding struct {
	namespace string
	role      roleKey
	subjects  []rbacv1.Subject
	// installed reports whether it has the labels of an installation.
	installed bool
}

// grants reports whether the binding is for an operator: for itself, or for all accounts.
func (b *binding) grants(o *operator) (granted, itself bool) {
	for _, subject := range b.subjects {
		user := subject.Kind == rbacv1.ServiceAccountKind && subject.Name == o.account() &&
			cmp.Or(subject.Namespace, b.namespace) == o.deployment.Namespace ||
			subject.Kind == rbacv1.UserKind && subject.Name == o.user()
		group := subject.Kind == rbacv1.GroupKind && slices.Contains([]string{
			"system:serviceaccounts", "system:serviceaccounts:" + o.deployment.Namespace, "system:authenticated",
		}, subject.Name)
		itself, granted = itself || user, granted || user || group
	}
	return granted, itself
}

func (in *installation) readClusterBindings(ctx context.Context, api scopedReader) error {
	var found []binding
	err := each(ctx, api, &rbacv1.ClusterRoleBindingList{}, func(object client.Object) {
		b := object.(*rbacv1.ClusterRoleBinding)
		found = append(found, binding{role: roleKey{name: b.RoleRef.Name}, subjects: b.Subjects,
			installed: installed.Matches(labels.Set(b.Labels))})
	})
	in.bind(found)
	return err
}

func (in *installation) readBindings(ctx context.Context, api scopedReader) error {
	var found []binding
	err := each(ctx, api, &rbacv1.RoleBindingList{}, func(object client.Object) {
		b := object.(*rbacv1.RoleBinding)
		role := roleKey{name: b.RoleRef.Name}
		if b.RoleRef.Kind == "Role" {
			role.namespace = b.Namespace
		}
		found = append(found, binding{namespace: b.Namespace, role: role, subjects: b.Subjects})
	})
	in.bind(found)
	return err
}

func (in *installation) bind(found []binding) {
	in.lock.Lock()
	defer in.lock.Unlock()
	in.bindings = append(in.bindings, found...)
}

// roleSteps read the roles that are bound to an operator.
func (in *installation) roleSteps() (steps []step) {
	in.roles = map[roleKey][]rbacv1.PolicyRule{}
	for _, b := range in.bindings {
		granted := slices.ContainsFunc(in.operators, func(o operator) bool { granted, _ := b.grants(&o); return granted })
		if _, known := in.roles[b.role]; granted && !known {
			in.roles[b.role] = nil // One that does not exist grants nothing.
			steps = append(steps, step{ofRoles, in.roleReader(b.role)})
		}
	}
	return steps
}

func (in *installation) roleReader(key roleKey) func(context.Context, scopedReader) error {
	return func(ctx context.Context, api scopedReader) error {
		var rules []rbacv1.PolicyRule
		var err error
		if key.namespace == "" {
			role := &rbacv1.ClusterRole{}
			err = api.Get(ctx, client.ObjectKey{Name: key.name}, role)
			rules = role.Rules
		} else {
			role := &rbacv1.Role{}
			err = api.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.name}, role)
			rules = role.Rules
		}
		in.lock.Lock()
		defer in.lock.Unlock()
		in.roles[key] = rules
		return client.IgnoreNotFound(err)
	}
}

// need is what an operator must be allowed in a namespace, or in all.
type need struct {
	namespace string
	rules     []rbacv1.PolicyRule
}

// needs of an operator with its flags, as config/rbac and the chart grant them.
func (o *operator) needs() (needs []need) {
	rules := rulesOf("role", "")
	if o.servesWebhooks() || o.policy() != "" {
		rules = append(rules, rulesOf("injection_role", "")...)
	}
	if watched := o.watched(); len(watched) == 0 {
		needs = append(needs, need{rules: rules})
	} else {
		ofCluster, ofNamespace := split(rules)
		needs = append(needs, need{rules: ofCluster})
		for _, namespace := range watched {
			needs = append(needs, need{namespace, ofNamespace})
		}
		needs = append(needs, o.platformNeeds()...)
	}
	if o.flags["leader-elect"] == "true" {
		namespace := cmp.Or(o.flags["leader-election-namespace"], o.deployment.Namespace)
		needs = append(needs, need{namespace, rulesOf("leader_election_role", "")})
	}
	if o.makesCertificate() {
		secret := o.certificate()
		needs = append(needs, need{secret.Namespace, rulesOf("certificate_role", secret.Name)},
			need{rules: rulesOf("certificate_authority_role", cmp.Or(o.flags["webhook-configuration"], "obstack-webhook"))})
	}
	return needs
}

// platformNeeds are those for platforms, where an operator is confined to namespaces: their
// credentials are in its own, and events about what has no namespace in default.
func (o *operator) platformNeeds() []need {
	return []need{
		{o.deployment.Namespace, []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
		}},
		{metav1.NamespaceDefault, []rbacv1.PolicyRule{
			{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		}},
	}
}

// rulesOf a file of config/rbac. Where they name one object, it is the one that is named here.
func rulesOf(file, named string) []rbacv1.PolicyRule {
	role := &rbacv1.ClusterRole{}
	unpack("rbac/"+file+".yaml", role)
	for i := range role.Rules {
		if len(role.Rules[i].ResourceNames) > 0 {
			role.Rules[i].ResourceNames = []string{named}
		}
	}
	return role.Rules
}

// unpack a file that is part of this program.
func unpack(file string, into any) {
	text, err := config.Manifests.ReadFile(file)
	utilruntime.Must(err)
	utilruntime.Must(yaml.Unmarshal(text, into))
}

// split rules into those about the whole cluster and those about the namespaces that the operator
// is confined to, as the chart's templates/manager-rbac.yaml does.
func split(rules []rbacv1.PolicyRule) (ofCluster, ofNamespace []rbacv1.PolicyRule) {
	for _, rule := range rules {
		for _, part := range validation.BreakdownRule(rule) {
			if slices.Contains([]string{"admissionregistration.k8s.io", "apiextensions.k8s.io", "authentication.k8s.io",
				"authorization.k8s.io"}, part.APIGroups[0]) || slices.Contains([]string{"namespaces", "observabilityplatforms",
				"observabilityplatforms/status", "prometheuses", "prometheusagents", "thanosrulers"}, part.Resources[0]) {
				ofCluster = append(ofCluster, part)
			} else {
				ofNamespace = append(ofNamespace, part)
			}
		}
	}
	return ofCluster, ofNamespace
}

// checkRoles says what the operators lack, and what they do not need.
func checkRoles(in *installation) (findings []DoctorFinding) {
	const name = "roles"
	if findings := in.unread(name, ofRoles); findings != nil || len(in.operators) == 0 {
		return findings
	}
	for i := range in.operators {
		o := &in.operators[i]
		needs := o.needs()
		if missing := in.missing(o, needs); len(missing) > 0 {
			findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
				Message: fmt.Sprintf("operator %s may not: %s", o, strings.Join(missing, "; ")),
				Remedy: "apply the roles of the operator's version: helm upgrade with rbac.create=true, or kubectl apply -k " +
					"config/default"})
		}
		if surplus := in.surplus(o, needs); len(surplus) > 0 {
			findings = append(findings, DoctorFinding{Name: name, State: StateWarning,
				Message: fmt.Sprintf("operator %s may do what it does not need: %s", o, strings.Join(surplus, "; ")),
				Remedy:  "take these rules or bindings away"})
		}
	}
	return orOK(findings, ok(name, "the operator may do what it needs, and nothing else"))
}

// missing says by namespace what nothing grants.
func (in *installation) missing(o *operator, needs []need) (says []string) {
	for _, need := range needs {
		var granted []rbacv1.PolicyRule
		for i := range in.bindings {
			b := &in.bindings[i]
			if yes, _ := b.grants(o); yes && (b.namespace == "" || b.namespace == need.namespace) {
				granted = append(granted, in.roles[b.role]...)
			}
		}
		if covered, missing := validation.Covers(granted, need.rules); !covered {
			text := describe(missing)
			if need.namespace != "" {
				text += " in namespace " + need.namespace
			}
			says = append(says, text)
		}
	}
	return says
}

// surplus says by role what the operator itself is granted and does not need.
func (in *installation) surplus(o *operator, needs []need) (says []string) {
	for i := range in.bindings {
		b := &in.bindings[i]
		if _, itself := b.grants(o); !itself {
			continue
		}
		var needed []rbacv1.PolicyRule
		for _, need := range needs {
			if need.namespace == "" || need.namespace == b.namespace {
				needed = append(needed, need.rules...)
			}
		}
		if covered, surplus := validation.Covers(needed, in.roles[b.role]); !covered {
			says = append(says, fmt.Sprintf("%s (%s)", describe(surplus), b.role))
		}
	}
	slices.Sort(says)
	return says
}

// describe rules that have a verb and a resource each, such as get, list pods.
func describe(rules []rbacv1.PolicyRule) string {
	var order []string
	verbs := map[string][]string{}
	for _, rule := range rules {
		what := strings.Join(rule.NonResourceURLs, " ")
		if len(rule.Resources) > 0 {
			what = rule.Resources[0]
			if group := rule.APIGroups[0]; group != "" {
				what += "." + group
			}
			if len(rule.ResourceNames) > 0 {
				what += " " + rule.ResourceNames[0]
			}
		}
		if verbs[what] == nil {
			order = append(order, what)
		}
		verbs[what] = append(verbs[what], strings.Join(rule.Verbs, ","))
	}
	for i, what := range order {
		order[i] = strings.Join(verbs[what], ",") + " " + what
	}
	return some(order)
}
