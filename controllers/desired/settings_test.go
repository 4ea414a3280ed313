// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// own is what workloads get in the namespace of their stack.
var own = Variant{Env: true}

// settingsStack has every setting.
func settingsStack() (*obsv1.ObservabilityStack, Inputs) {
	selector := obsv1.SecretKeySelector{Name: "shop-sentry", Key: "dsn"}
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Environment = "production"
	stack.Spec.Sentry = &obsv1.SentrySpec{
		DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: selector}, TracesSampleRate: "0.1", Release: obsv1.ReleaseFromImage,
	}
	stack.Spec.Logging = &obsv1.LoggingSpec{Level: "INFO", Format: "json"}
	return stack, Inputs{Values: map[KeyRef]Value{
		secretKey(selector): {
			Exists:    true,
			KeyExists: true,
			Value:     "https://f00dfeed@sentry.example/42",
			Source:    Source{ResourceVersion: "1", Revision: "revision", Digest: "digest"},
		},
	}}
}

// TestSettingsPinTheHash: a hash that changes restarts every injected workload of every
// cluster.
func TestSettingsPinTheHash(t *testing.T) {
	stack, in := settingsStack()
	got := NewSettings(stack, in.Values, nil)
	if want := "72b2903b58960d80997eafb75432c486"; got.Hash(own) != want || got.Undecided(own) {
		t.Errorf("hash = %s, undecided %v, want %s", got.Hash(own), got.Undecided(own), want)
	}
}

// versionOf is the settings' own version.
func versionOf(s *Settings) SettingsVersion {
	secret := s.Secrets(nil)[0]
	return SettingsVersion{
		Hash: secret.Labels[obsv1.StampVersion], Content: secret.Annotations[obsv1.AnnotationContent],
	}
}

func TestSettingsKeepTheHashOfEqualContent(t *testing.T) {
	stack, in := settingsStack()
	first := versionOf(NewSettings(stack, in.Values, nil))
	ref := secretKey(stack.Spec.Sentry.DSNFrom.SecretKeyRef)
	restored := in.Values[ref]
	restored.Revision = "of another Secret"
	in.Values[ref] = restored
	exist := []SettingsVersion{{"other", "other"}, first}
	if got := versionOf(NewSettings(stack, in.Values, exist)); got != first {
		t.Errorf("version = %+v for the same content, want %+v", got, first)
	}
	if got := NewSettings(stack, in.Values, nil); got.Hash(own) == first.Hash {
		t.Error("the hash does not depend on the revision, so nothing was tested")
	}
	stack.Spec.Sentry.Release = "1.2.3"
	if got := versionOf(NewSettings(stack, in.Values, []SettingsVersion{first})); got.Hash == first.Hash ||
		got.Content == first.Content {
		t.Errorf("version = %+v for other content, want another than %+v", got, first)
	}
}

func TestSettingsKeepTheLastGoodVersionWhileTheDSNIsWrong(t *testing.T) {
	stack, in := settingsStack()
	stack.Status.ConfigHash = "last"
	got := NewSettings(stack, nil, nil)
	wanted := got.Secrets(map[string][]Variant{"web": {own}})
	if !got.Undecided(own) || !got.Held() || got.Hash(own) != "last" || wanted != nil {
		t.Errorf("settings = %+v, want the last version held and nothing to write", got)
	}
	stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{
		From:     obsv1.NamespacesFromSelector,
		Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "in"}}},
	}}
	if got := NewSettings(stack, in.Values, nil); got.Undecided(own) || !got.Held() {
		t.Error("a selector that is not valid lets versions go")
	}
}

// Argo CD takes what has app.kubernetes.io/instance for its own, and would prune it.
func TestSettingsAreNoGitOpsToolsOwn(t *testing.T) {
	stack, in := settingsStack()
	secrets := NewSettings(stack, in.Values, nil).Secrets(map[string][]Variant{"shop": {own}, "web": {own}})
	if len(secrets) != 2 || secrets[1].Namespace != "web" {
		t.Fatalf("%d Secrets, want one in shop and one in web", len(secrets))
	}
	for _, secret := range secrets {
		if _, set := secret.Labels["app.kubernetes.io/instance"]; set || len(secret.OwnerReferences) > 0 {
			t.Errorf("Secret in %s has labels %v and owners %v", secret.Namespace, secret.Labels, secret.OwnerReferences)
		}
		for key, want := range map[string]string{
			"argocd.argoproj.io/compare-options": "IgnoreExtraneous", "argocd.argoproj.io/sync-options": "Prune=false",
			"kustomize.toolkit.fluxcd.io/prune": "disabled",
		} {
			if got := secret.Annotations[key]; got != want {
				t.Errorf("annotation %s = %q, want %q", key, got, want)
			}
		}
		if secret.Immutable == nil || !*secret.Immutable {
			t.Errorf("the Secret in %s can be changed", secret.Namespace)
		}
		if own := secret.Namespace == "shop"; own != (secret.Annotations[obsv1.AnnotationSources] != "") {
			t.Errorf("the Secret in %s shows sources %q", secret.Namespace, secret.Annotations[obsv1.AnnotationSources])
		}
	}
}

func TestSettingsReportTooManyVersions(t *testing.T) {
	stack, in := settingsStack()
	for range maxVersions {
		in.Versions = append(in.Versions, SettingsVersion{})
	}
	if out := settings(stack, in); out.Reason != obsv1.ReasonAvailable {
		t.Errorf("reason = %s with %d versions", out.Reason, maxVersions)
	}
	in.Versions = append(in.Versions, SettingsVersion{})
	off := settings(stack, in)
	in.Workloads = &Workloads{}
	for why, out := range map[string]Output{"with injection off": off, "kubectl get pods -L": settings(stack, in)} {
		if out.Reason != obsv1.ReasonTooManyVersions || !strings.Contains(out.Message, "21 versions") ||
			!strings.Contains(out.Message, why) {
			t.Errorf("reason = %s (%s) with one more, want %q", out.Reason, out.Message, why)
		}
	}
}
