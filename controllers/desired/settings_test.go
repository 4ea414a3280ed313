// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// settingsStack has every setting.
func settingsStack() (*obsv1.ObservabilityStack, Inputs) {
	ref := obsv1.SecretKeySelector{Name: "shop-sentry", Key: "dsn"}
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Environment = "production"
	stack.Spec.Sentry = &obsv1.SentrySpec{
		DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: ref}, TracesSampleRate: "0.1", Release: obsv1.ReleaseFromImage,
	}
	stack.Spec.Logging = &obsv1.LoggingSpec{Level: "INFO", Format: "json"}
	return stack, Inputs{Secrets: map[obsv1.SecretKeySelector]SecretValue{
		ref: {
			SecretExists: true,
			KeyExists:    true,
			Value:        "https://f00dfeed@sentry.example/42",
			Source:       Source{Revision: "revision"},
		},
	}}
}

// TestSettingsVersionPinsTheHash: a hash that changes restarts every injected workload of every
// cluster.
func TestSettingsVersionPinsTheHash(t *testing.T) {
	stack, in := settingsStack()
	got, decided := NewSettings(stack, in.Secrets).Version(SettingsVersion{})
	if want := "72b2903b58960d80997eafb75432c486"; got.Hash != want || !decided {
		t.Errorf("hash = %s, %v, want %s", got.Hash, decided, want)
	}
}

func TestSettingsVersionKeepsTheHashOfEqualContent(t *testing.T) {
	stack, in := settingsStack()
	first, _ := NewSettings(stack, in.Secrets).Version(SettingsVersion{})
	ref := stack.Spec.Sentry.DSNFrom.SecretKeyRef
	restored := in.Secrets[ref]
	restored.Revision = "of another Secret"
	in.Secrets[ref] = restored
	if got, _ := NewSettings(stack, in.Secrets).Version(first); got != first {
		t.Errorf("version = %+v for the same content, want %+v", got, first)
	}
	if got, _ := NewSettings(stack, in.Secrets).Version(SettingsVersion{}); got.Hash == first.Hash {
		t.Error("the hash does not depend on the revision, so nothing was tested")
	}
	stack.Spec.Sentry.Release = "1.2.3"
	if got, _ := NewSettings(stack, in.Secrets).Version(first); got.Hash == first.Hash || got.Content == first.Content {
		t.Errorf("version = %+v for other content, want another than %+v", got, first)
	}
}
