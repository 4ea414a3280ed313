// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// variableDSN is what Sentry's SDKs read.
const variableDSN = "SENTRY_DSN"

// addSentry takes the DSN from the Secret that the workloads use, or from the only one that looks
// like it. Where they use several, the first is for all, and the others are projects.
func (d *draft) addSentry(app *application, processes []process) {
	var refs []obsv1.SecretKeySelector
	users := map[obsv1.SecretKeySelector][]string{}
	var plain *workload
	for _, p := range processes {
		v, ok := p.variables[variableDSN]
		switch {
		case ok && v.secret != nil:
			if users[*v.secret] == nil {
				refs = append(refs, *v.secret)
			}
			users[*v.secret] = append(users[*v.secret], p.workload.String())
		case v.value != "" && plain == nil:
			plain = p.workload
		}
	}
	switch {
	case len(refs) > 0:
		d.addDSN(refs[0], "As "+strings.Join(slices.Compact(users[refs[0]]), ", ")+" has it.")
		for _, ref := range refs[1:] {
			d.addProject(ref, slices.Compact(users[ref]))
		}
	case plain != nil:
		d.noteDSN(fmt.Sprintf("%s is a plain value in %s, which everybody who may see that can read. Put it into a Secret, "+
			"and write below spec:", variableDSN, plain))
	case app.secrets == nil:
		d.noteDSN("You may not list Secrets, so none with Sentry's DSN was looked for. If there is none yet:")
	default:
		d.addLikelyDSN(app.secrets)
	}
}

func (d *draft) addDSN(ref obsv1.SecretKeySelector, why string) {
	problem := d.try(func(stack *obsv1.ObservabilityStack) {
		stack.Spec.Sentry = &obsv1.SentrySpec{DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: ref}}
	})
	if problem == "" {
		d.comments["spec.sentry"] = why
	}
}

func (d *draft) addProject(ref obsv1.SecretKeySelector, users []string) {
	name := ""
	problem := d.try(func(stack *obsv1.ObservabilityStack) {
		name = short(ref.Name, 63, func(name string) bool { return stack.Spec.Sentry.Project(name) != nil })
		stack.Spec.Sentry.Projects = append(stack.Spec.Sentry.Projects, obsv1.SentryProject{
			Name: name, DSNFrom: obsv1.SecretKeySource{SecretKeyRef: ref},
		})
	})
	if problem == "" {
		d.note(fmt.Sprintf("%s has another DSN. Without one of its own it chooses it by the annotation %s: %s",
			strings.Join(users, ", "), obsv1.AnnotationSentryProject, name))
	}
}

// addLikelyDSN looks for a Secret that no workload uses yet.
func (d *draft) addLikelyDSN(secrets map[string][]string) {
	var found []obsv1.SecretKeySelector
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		for _, key := range secrets[name] {
			switch lower := strings.ToLower(key); {
			case lower == "sentry_dsn" || lower == "sentry-dsn", lower == "dsn" && strings.Contains(name, "sentry"):
				found = append(found, obsv1.SecretKeySelector{Name: name, Key: key})
			}
		}
	}
	switch len(found) {
	case 0:
		if d.empty() {
			return
		}
		d.noteDSN("To report errors to Sentry, write below spec:")
	case 1:
		d.addDSN(found[0], "By its name, the DSN of this application.")
	default:
		var names []string
		for _, ref := range found {
			names = append(names, ref.Name)
		}
		d.noteDSN(fmt.Sprintf("Several Secrets may hold Sentry's DSN: %s. Choose one, and write below spec:",
			strings.Join(names, ", ")))
	}
}

func (d *draft) noteDSN(says string) {
	d.note(says,
		fmt.Sprintf(`kubectl create secret generic -n %s %s-sentry \`, d.stack.Namespace, d.stack.Name),
		"  --from-literal=dsn=DSN", "", "sentry:",
		fmt.Sprintf("  dsnFrom: {secretKeyRef: {name: %s-sentry, key: dsn}}", d.stack.Name))
}
