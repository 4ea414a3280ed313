// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// settings reports on what the stack's workloads get: the DSN, the environment and release, how
// to log, and what else env names. Their Secrets are no children of the stack, because workloads
// name them after it is gone as well: see Settings.Secrets.
func settings(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if !stack.Spec.HasSettings(true) {
		return Output{}
	}
	made := in.settings(stack)
	if problem := made.env.problem; problem != nil {
		out := *problem
		out.Hold = true
		out.Message += "; until then " + made.inUse(made.projects)
		return out
	}
	if waiting := made.waitingForSentry(); len(waiting) > 0 {
		who := "the settings"
		if len(made.projects) > 1 {
			var names []string
			for _, project := range waiting {
				names = append(names, cmp.Or(project.name, "the default project"))
			}
			who += " of " + some(names)
		}
		out := unavailable(nil, obsv1.ReasonWaitingForSentry,
			who+" wait for SentryReady: see its message; until then "+made.inUse(waiting))
		out.Hold = true
		return out
	}
	own := made.of(Variant{Env: true})
	out := available(nil, fmt.Sprintf("Secret %s holds %s", made.name(own), count(len(own.data), "variable")))
	if n := len(in.Versions); n > maxVersions+len(made.hashes())-1 {
		why := "which are kept while Pod templates or Pods name them: restart workloads that run an old one, and see " +
			"which do with kubectl get pods -L " + obsv1.StampVersion
		if in.Workloads == nil {
			why = "and with injection off obstack deletes none: delete those that nothing of yours names"
		}
		out = unavailable(nil, obsv1.ReasonTooManyVersions,
			fmt.Sprintf("namespace %s has %d versions of the settings, %s", stack.Namespace, n, why))
	}
	if stack.Spec.Logging != nil {
		out.Covered = "logging"
	}
	return out
}

// maxVersions of a stack's settings in a namespace are nothing to report, and one more for each
// that is wanted beside the first.
const maxVersions = 20

// Variant is what of a stack's settings a workload gets.
type Variant struct {
	// Project chooses the DSN; the default if it is empty.
	Project string
	// Env reports whether it gets spec.injection.env and the URLs of brokers.
	Env bool
}

// Settings are what the workloads of a stack get. They are made once a pass.
type Settings struct {
	stack    *obsv1.ObservabilityStack
	values   map[KeyRef]Value
	projects []project
	env      env
	variants map[Variant]*variant
}

// variant is what one kind of workloads gets.
type variant struct {
	// sentry is what is wrong with the DSN.
	sentry *Output
	// undecided reports whether that or a wrong variable leaves open what the settings are. What was
	// written before stays: a DSN that is mistyped for a minute must not cost reports.
	undecided bool
	// dsn is valid, and empty if Sentry is off.
	dsn  string
	data map[string][]byte
	// refs are the keys that the data come from.
	refs []KeyRef
	// content is a hash of the data.
	content string
	// hash names the version.
	hash string
	// env reports whether variables are among the data that other namespaces must accept.
	env bool
}

// NewSettings makes the settings of a stack from the keys that it refers to. Of the versions
// that exist, the first one with the same content keeps its hash, whatever became of the
// revision of the DSN: a hash that changes restarts workloads.
func NewSettings(stack *obsv1.ObservabilityStack, values map[KeyRef]Value, versions []SettingsVersion) *Settings {
	s := &Settings{
		stack: stack, values: values, projects: projects(stack.Spec.Sentry), env: newEnv(&stack.Spec, values),
		variants: map[Variant]*variant{},
	}
	hashes := map[string]string{} // by content
	for _, version := range versions {
		if _, found := hashes[version.Content]; !found {
			hashes[version.Content] = version.Hash
		}
	}
	for _, project := range s.projects {
		for _, env := range []bool{true, false} {
			if !env && !stack.Spec.HasEnv() {
				s.variants[Variant{project.name, env}] = s.of(Variant{project.name, true})
				continue
			}
			v := s.variant(project, env)
			switch hash := hashes[v.content]; {
			case v.undecided:
				v.hash = stack.Status.Version(project.name, env) // The last good settings stay.
			case v.data == nil: // There is nothing to give.
			case hash != "":
				v.hash = hash
			default:
				hashes[v.content] = v.hash // Two projects may share a DSN.
			}
			s.variants[Variant{project.name, env}] = v
		}
	}
	return s
}

func (s *Settings) variant(project project, env bool) *variant {
	v, spec := &variant{}, &s.stack.Spec
	v.dsn, v.sentry = sentryDSN(project, s.values)
	v.undecided = v.sentry != nil || env && s.env.problem != nil
	if v.undecided || !spec.HasSettings(env) {
		return v
	}
	var revision string
	if project.ref != nil {
		revision = s.values[*project.ref].Revision
		v.refs = append(v.refs, *project.ref)
	}
	v.data = settingsData(spec, v.dsn)
	standIns := settingsData(spec, revision)
	if env {
		addVariables(v.data, s.env.data)
		addVariables(standIns, s.env.revisions)
		v.refs = append(v.refs, s.env.refs...)
		v.env = len(s.env.data) > 0
	}
	v.hash, v.content = hashOf(spec, standIns), hashOf(spec, v.data)
	return v
}

// settings of a stack, which are made only once where Inputs has them.
func (in Inputs) settings(stack *obsv1.ObservabilityStack) *Settings {
	if in.Settings != nil {
		return in.Settings
	}
	return NewSettings(stack, in.Values, in.Versions)
}

// of finds a variant; that of a project which is not in the spec is undecided.
func (s *Settings) of(v Variant) *variant {
	if found := s.variants[v]; found != nil {
		return found
	}
	return &variant{undecided: true}
}

// Hash names the version that workloads should have. It changes with the settings and, because
// it is made of the revisions of what Secrets hold, does not reveal that. It is empty if there is
// nothing to give.
func (s *Settings) Hash(v Variant) string { return s.of(v).hash }

// hashes are the versions that are wanted.
func (s *Settings) hashes() map[string]bool {
	hashes := map[string]bool{}
	for _, v := range s.variants {
		hashes[v.hash] = true
	}
	return hashes
}

// Projects are the versions of those workloads that choose a Sentry project.
func (s *Settings) Projects() (all []obsv1.SentryProjectStatus) {
	for _, project := range s.projects[1:] {
		all = append(all, obsv1.SentryProjectStatus{
			Name: project.name, ConfigHash: s.Hash(Variant{project.name, true}),
			ConfigHashWithoutEnv: s.Hash(Variant{Project: project.name}),
		})
	}
	return all
}

// Name is the name of the Secret of a variant, in every namespace.
func (s *Settings) Name(v Variant) string { return s.name(s.of(v)) }

// Unwritten has the variants of a Secret that is not in the stack's own namespace keep the version
// that the status names.
func (s *Settings) Unwritten(name string) {
	for key, v := range s.variants {
		if v.data != nil && s.name(v) == name {
			kept := *v
			kept.hash = s.stack.Status.Version(key.Project, key.Env)
			s.variants[key] = &kept
		}
	}
}

// Undecided reports whether bad input leaves open what the settings are.
func (s *Settings) Undecided(v Variant) bool { return s.of(v).undecided }

// waitingForSentry are the projects whose DSN is wrong.
func (s *Settings) waitingForSentry() (waiting []project) {
	for _, project := range s.projects {
		if s.of(Variant{Project: project.name}).sentry != nil {
			waiting = append(waiting, project)
		}
	}
	return waiting
}

// inUse says what the workloads of some projects have while bad input leaves their settings open.
func (s *Settings) inUse(projects []project) string {
	written := 0
	for _, project := range projects {
		if s.stack.Status.Version(project.name, true) != "" {
			written++
		}
	}
	switch written {
	case 0:
		return "there are no settings"
	case len(projects):
		return "the last good settings stay in use"
	default:
		return "the last good settings stay in use where there are any"
	}
}

// Held reports whether every version stays, because bad input leaves open what the settings are,
// or who may have them.
func (s *Settings) Held() bool {
	return s.env.problem != nil || len(s.waitingForSentry()) > 0 || invalidSelector(s.stack.Spec.Injection) != nil
}

// Secrets are the versions in the stack's own namespace, one for each Sentry project, and those
// that other namespaces need, there and in its own: the versions there say under which name each
// content is known. While bad input leaves one open, it is not among them. Where a quota has room
// for few, those come first that the stack's own workloads need.
func (s *Settings) Secrets(namespaces map[string][]Variant) []*corev1.Secret {
	var all []*corev1.Secret
	made := map[types.NamespacedName]bool{}
	add := func(namespace string, v *variant) {
		secret := s.secret(namespace, v)
		if name := client.ObjectKeyFromObject(secret); v.data != nil && !made[name] {
			made[name] = true
			all = append(all, secret)
		}
	}
	add(s.stack.Namespace, s.of(Variant{Env: true}))
	for _, v := range namespaces[s.stack.Namespace] {
		add(s.stack.Namespace, s.of(v))
	}
	for _, project := range s.projects {
		add(s.stack.Namespace, s.of(Variant{project.name, true}))
	}
	for _, namespace := range slices.Sorted(maps.Keys(namespaces)) {
		for _, v := range namespaces[namespace] {
			add(s.stack.Namespace, s.of(v))
			add(namespace, s.of(v))
		}
	}
	return all
}

func (s *Settings) name(v *variant) string {
	return obsv1.SettingsName(s.stack.Namespace, s.stack.Name, v.hash)
}
