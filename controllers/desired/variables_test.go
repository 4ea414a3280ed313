// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestForbiddenVariablesAreThoseOfTheDefinitionAndTheDocs: there is one table.
func TestForbiddenVariablesAreThoseOfTheDefinitionAndTheDocs(t *testing.T) {
	for file, want := range map[string][]string{
		"../../config/crd/bases/obstack.dev_observabilitystacks.yaml": {forbiddenPattern},
		"../../docs/guides/variables.md":                              nil,
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(content)), " ")
		if want == nil {
			for _, name := range forbiddenVariables {
				want = append(want, "`"+name+"`")
			}
			for name := range ownVariables {
				want = append(want, "`"+name+"`")
			}
		}
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %s", file, part)
			}
		}
	}
}

func TestSettingsRefuseVariables(t *testing.T) {
	for name, want := range map[string]string{
		"LD_PRELOAD": "how programs load", "ld_library_path": "how programs load", "PATH": "how programs load",
		"PYTHONPATH": "how programs load", "NODE_OPTIONS": "how programs load", "https_proxy": "how programs load",
		"KUBERNETES_SERVICE_HOST": "how programs load", "BASH_FUNC_ls": "how programs load",
		"SENTRY_DSN": "write spec.sentry.dsnFrom", "ENVIRONMENT": "write spec.environment", "A-B": "letters", "1A": "letters",
		"": "letters", "NODE_ENV": "", "OTEL_PYTHON_LOG_LEVEL": "", "MY_PATH": "", "_": "",
	} {
		t.Run(name, func(t *testing.T) {
			stack, in := settingsStack()
			stack.Spec.Injection = &obsv1.InjectionSpec{Env: []obsv1.EnvVar{{Name: obsv1.VariableName(name), Value: "x"}}}
			if why := refusal(name); (why == "") != (want == "") || !strings.Contains(why, want) {
				t.Errorf("refusal = %q, want %q", why, want)
			}
			got := NewSettings(stack, in.Values, nil)
			if refused := got.Undecided(own); refused != (want != "") {
				t.Errorf("undecided = %t", refused)
			}
			out := settings(stack, in)
			if want != "" && (out.Reason != obsv1.ReasonInvalidVariable || !strings.Contains(out.Message, want)) {
				t.Errorf("condition = %s: %s", out.Reason, out.Message)
			}
			for _, secret := range got.Secrets(map[string][]Variant{"shop": {own}}) {
				if _, set := secret.Data[name]; set != (want == "") {
					t.Errorf("the settings hold the variable: %t", set)
				}
			}
		})
	}
}

// TestSettingsGiveEnvOnlyToThoseWhoAcceptIt: a DSN is no code, a variable may choose it.
func TestSettingsGiveEnvOnlyToThoseWhoAcceptIt(t *testing.T) {
	stack, in := settingsStack()
	plain := NewSettings(stack, in.Values, nil).Hash(own)
	stack.Spec.Injection = &obsv1.InjectionSpec{Env: []obsv1.EnvVar{{Name: "FLAGS", Value: "new-basket"}}}
	stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", Env: "BROKER", URL: "redis://redis"}}}
	made := NewSettings(stack, in.Values, nil)
	if got := made.Hash(Variant{}); got != plain || got == made.Hash(own) {
		t.Errorf("hash without env = %s, with env %s, want %s and another", got, made.Hash(own), plain)
	}
	var got []string
	for _, secret := range made.Secrets(map[string][]Variant{"team": {{}, {}}, "web": {own}}) {
		_, flags := secret.Data["FLAGS"]
		_, broker := secret.Data["BROKER"]
		got = append(got, fmt.Sprintf("%s: %t %t", secret.Namespace, flags, broker))
	}
	// The own namespace has all, by which each keeps its name.
	want := []string{"shop: true true", "shop: false false", "team: false false", "web: true true"}
	if !slices.Equal(got, want) {
		t.Errorf("Secrets with FLAGS and BROKER are %q, want %q", got, want)
	}
}

func TestSettingsHoldEnvAlone(t *testing.T) {
	stack, in := settingsStack()
	plain := NewSettings(stack, in.Values, nil).Hash(own)
	stack.Spec.Injection = &obsv1.InjectionSpec{Env: []obsv1.EnvVar{{Name: "FLAGS", Value: "new-basket"}}}
	first := NewSettings(stack, in.Values, nil).Hash(own)
	stack.Spec.Injection.Env[0].Value = "old-basket"
	if got := NewSettings(stack, in.Values, nil); got.Hash(own) == first || got.Hash(Variant{}) != plain {
		t.Error("a variable that changes must restart those who have it, and nobody else")
	}
	stack.Spec.Injection.Env[0] = obsv1.EnvVar{Name: "FLAGS", ValueFrom: &obsv1.EnvVarSource{
		ConfigMapKeyRef: &obsv1.ConfigMapKeySelector{Name: "shop", Key: "flags"}}}
	stack.Status.ConfigHash = "last"
	got := NewSettings(stack, in.Values, nil)
	if !got.Undecided(own) || got.Hash(own) != "last" || got.Undecided(Variant{}) || !got.Held() {
		t.Error("a ConfigMap that is missing must hold the settings of those who get it, and of nobody else")
	}
}

// projectStack has the projects payments and basket.
func projectStack() (*obsv1.ObservabilityStack, Inputs) {
	stack, in := settingsStack()
	for _, name := range []string{"payments", "basket"} {
		from := obsv1.SecretKeySelector{Name: "sentry-" + name, Key: "dsn"}
		stack.Spec.Sentry.Projects = append(stack.Spec.Sentry.Projects, obsv1.SentryProject{
			Name: name, DSNFrom: obsv1.SecretKeySource{SecretKeyRef: from}})
		in.Values[secretKey(from)] = dsnValue("https://" + name + "@sentry.example/1")
	}
	return stack, in
}

func dsnValue(dsn string) Value {
	return Value{Exists: true, KeyExists: true, Value: dsn, Source: Source{Revision: DigestOf(dsn)}}
}

var payments, basket = Variant{"payments", true}, Variant{"basket", true}

// TestSettingsOfAProjectRestartItsWorkloadsOnly: a stack may have a project for each service.
func TestSettingsOfAProjectRestartItsWorkloadsOnly(t *testing.T) {
	stack, in := settingsStack()
	without := NewSettings(stack, in.Values, nil).Hash(own)
	stack, in = projectStack()
	first := NewSettings(stack, in.Values, nil)
	in.Values[KeyRef{Name: "sentry-payments", Key: "dsn"}] = dsnValue("https://new@sentry.example/1")
	second := NewSettings(stack, in.Values, nil)
	if second.Hash(payments) == first.Hash(payments) || second.Hash(basket) != first.Hash(basket) {
		t.Error("the rotation of one DSN must change the version of its project, and no other")
	}
	if got := second.Hash(own); got != without {
		t.Errorf("hash of the default = %s, want %s as without projects", got, without)
	}
	if hash := second.Hash(Variant{"gone", true}); hash != "" {
		t.Errorf("a project that is not there has version %s", hash)
	}
}

func TestSettingsHoldTheProjectWhoseDSNIsWrong(t *testing.T) {
	stack, in := projectStack()
	first := NewSettings(stack, in.Values, nil)
	in.Values[KeyRef{Name: "sentry-payments", Key: "dsn"}] = dsnValue("hunter2")
	stack.Status.Projects = first.Projects()
	wrong := NewSettings(stack, in.Values, nil)
	if !wrong.Undecided(payments) || wrong.Hash(payments) != first.Hash(payments) ||
		wrong.Undecided(basket) || wrong.Undecided(own) {
		t.Error("a wrong DSN must hold the version of its project, and no other")
	}
	out := sentry(stack, in)
	if out.Reason != obsv1.ReasonInvalidDSN || !strings.Contains(out.Message, "project payments") ||
		strings.Contains(out.Message, "hunter2") {
		t.Errorf("condition = %s: %s", out.Reason, out.Message)
	}
}

// Equal settings are one version, in the pass that makes them as in the next, which finds them.
func TestSettingsOfProjectsWithOneDSNAreOneVersion(t *testing.T) {
	stack, in := projectStack()
	shared := dsnValue("https://shared@sentry.example/1")
	shared.Revision = "of another Secret"
	in.Values[KeyRef{Name: "sentry-payments", Key: "dsn"}] = shared
	in.Values[KeyRef{Name: "sentry-basket", Key: "dsn"}] = dsnValue(shared.Value)
	first := NewSettings(stack, in.Values, nil)
	if first.Hash(payments) != first.Hash(basket) || first.Hash(own) == first.Hash(basket) {
		t.Errorf("projects have the versions %+v, want one", first.Projects())
	}
	var versions []SettingsVersion
	for _, secret := range first.Secrets(nil) {
		versions = append(versions, SettingsVersion{
			Hash: secret.Labels[obsv1.StampVersion], Content: secret.Annotations[obsv1.AnnotationContent],
		})
	}
	second := NewSettings(stack, in.Values, versions)
	if len(versions) != 2 || second.Hash(payments) != first.Hash(payments) {
		t.Errorf("of %d versions payments has %s, before %s", len(versions), second.Hash(payments), first.Hash(payments))
	}
}
