// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"strings"

	sentrygo "github.com/getsentry/sentry-go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// sentry reports whether the DSNs that are asked for can be used. They are among the settings.
func sentry(stack *obsv1.ObservabilityStack, in Inputs) Output {
	made := in.settings(stack)
	var messages, holders []string
	out := Output{}
	for _, project := range projects(stack.Spec.Sentry) {
		switch v := made.of(Variant{Project: project.name}); {
		case project.ref == nil:
		case v.sentry != nil:
			if out.Reason == "" {
				out = *v.sentry
			}
			messages = append(messages, v.sentry.Message)
		case v.dsn != "":
			holders = append(holders, project.ref.Name)
		}
	}
	all := projects(stack.Spec.Sentry)
	switch {
	case len(all) == 1 && all[0].ref == nil:
		return Output{}
	case len(messages) > 0:
		out.Hold = true
		out.Message = strings.Join(messages[:min(len(messages), maxNamed)], "; ")
		if more := len(messages) - maxNamed; more > 0 {
			out.Message += fmt.Sprintf("; and %d more", more)
		}
		return out
	case len(holders) == 0:
		ref := cmp.Or(all[0].ref, all[len(all)-1].ref)
		return Output{
			Status: metav1.ConditionTrue, Reason: obsv1.ReasonDisabled,
			Message: fmt.Sprintf("Sentry is off: key %s of Secret %s is empty", ref.Key, ref.Name),
		}
	}
	out = available(nil, fmt.Sprintf("the DSN of Secret %s is among the settings", holders[0]))
	if len(holders) > 1 {
		out.Message = fmt.Sprintf("the DSNs of %d projects are among the settings", len(holders))
	}
	out.Covered = "sentry"
	return out
}

// project is a Sentry project of a stack. That without a name is the default.
type project struct {
	name string
	// ref is nil if the default has no DSN.
	ref *KeyRef
	// field of the spec that names the DSN.
	field string
}

// projects are the default and those that workloads choose.
func projects(spec *obsv1.SentrySpec) []project {
	all := []project{{field: "spec.sentry.dsnFrom"}}
	if spec == nil {
		return all
	}
	if spec.DSNFrom != nil {
		all[0].ref = new(secretKey(spec.DSNFrom.SecretKeyRef))
	}
	for _, p := range spec.Projects {
		all = append(all, project{p.Name, new(secretKey(p.DSNFrom.SecretKeyRef)),
			fmt.Sprintf("spec.sentry.projects[%s].dsnFrom", p.Name)})
	}
	return all
}

// DSNRef is where the DSN of a Sentry project is. That without a name is the default.
type DSNRef struct {
	Project string
	KeyRef
}

// DSNRefs are the DSNs that a stack asks for.
func DSNRefs(stack *obsv1.ObservabilityStack) []DSNRef {
	var refs []DSNRef
	for _, project := range projects(stack.Spec.Sentry) {
		if project.ref != nil {
			refs = append(refs, DSNRef{project.name, *project.ref})
		}
	}
	return refs
}

// ParseDSN reads a DSN. That an invalid one is quoted by the parser's error is why there is none.
func ParseDSN(text string) (dsn *sentrygo.Dsn, ok bool) {
	dsn, err := sentrygo.NewDsn(text)
	return dsn, err == nil && isNumber(dsn.GetProjectID())
}

// sentryDSN returns the DSN, empty if Sentry is off, or what is wrong with it.
func sentryDSN(project project, values map[KeyRef]Value) (string, *Output) {
	if project.ref == nil {
		return "", nil
	}
	value, problem := keyValue(*project.ref, values, project.field)
	if problem != nil {
		return "", problem
	}
	dsn := value.Value
	if dsn == "" && value.Unusable == "" {
		return "", nil
	}
	if _, ok := ParseDSN(dsn); !ok {
		holder := project.ref.String()
		if project.name != "" {
			holder += ", for project " + project.name + ","
		}
		return "", new(unavailable(nil, obsv1.ReasonInvalidDSN, holder+" does not hold a Sentry DSN: "+
			"write https://PUBLIC_KEY@HOST/PROJECT_NUMBER, as Sentry shows it under Client Keys"))
	}
	return dsn, nil
}

// isNumber is what sentry-python asks of a project ID and sentry-go does not.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
