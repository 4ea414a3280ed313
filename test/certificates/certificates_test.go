// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// TestCertificates goes through the life of one installation, in this order.
func TestCertificates(t *testing.T) {
	c := start(t)
	t.Run("without its Secret the operator says what to create", c.missingSecret)
	testenv.Create(t, c.api, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretKey.Name}})
	testenv.Create(t, c.api, &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"},
		Spec:       obsv1.ObservabilityStackSpec{Environment: "production"},
	})
	first, second := c.replica(t, "first"), c.replica(t, "second")
	replicas := []*replica{first, second}

	t.Run("readiness says what is missing", func(t *testing.T) { c.notReady(t, replicas) })
	c.mount(t, first)
	c.mount(t, second)
	t.Run("both replicas serve one certificate", func(t *testing.T) { c.shared(t, replicas, "") })
	t.Run("nothing but the authority is the operator's", c.ownedByObstack)
	t.Run("the authority is put back", func(t *testing.T) { c.authorityTakenAway(t, replicas) })
	t.Run("a certificate that is lost is made anew by the same authority", func(t *testing.T) {
		authority := string(c.secret(t).Data["ca.crt"])
		c.lose(t, replicas, "tls.crt")
		if got := string(c.secret(t).Data["ca.crt"]); got != authority {
			t.Error("there is another authority, which the webhooks' configurations would need")
		}
	})
	t.Run("a Secret that is emptied is filled again", func(t *testing.T) {
		authority := string(c.secret(t).Data["ca.crt"])
		c.lose(t, replicas, "ca.crt", "ca.key", "tls.crt", "tls.key")
		if got := string(c.secret(t).Data["ca.crt"]); got == authority {
			t.Error("the authority is the old one, whose key is lost")
		}
	})
}

func (c *cluster) missingSecret(t *testing.T) {
	r := &replica{address: testenv.FreeAddress(t), certDir: t.TempDir()}
	op, err := testenv.StartOperator(c.ControlPlane, c.binary, "without-secret", c.flags(r)...)
	if err != nil {
		t.Fatal(err)
	}
	<-op.Done()
	if want := "--webhook-cert-secret=obstack-system/obstack-webhook-cert: there is no such Secret: create " +
		"it, empty"; !strings.Contains(
		op.Tail(), want) {
		t.Errorf("the operator ended with %q, want %q", op.Tail(), want)
	}
}

// notReady: as long as no kubelet brings the certificate, the replicas are not
// ready, and the API server gets no authority that nobody can prove.
func (c *cluster) notReady(t *testing.T, replicas []*replica) {
	testenv.Poll(t, func(context.Context) string {
		if data := c.secret(t).Data; len(data) != 4 {
			return fmt.Sprintf("the Secret has %d keys, want ca.crt, ca.key, tls.crt and tls.key", len(data))
		}
		return ""
	})
	for _, r := range replicas {
		testenv.Poll(t, func(ctx context.Context) string {
			if err := r.Ready(ctx, "caches"); err != nil {
				return err.Error()
			}
			return ""
		})
		err := r.Ready(t.Context(), "webhook")
		for _, want := range []string{r.certDir + " has no tls.crt yet", "Secret " + secretKey.String(), "kubelet"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("readiness is %v, want it to say %q", err, want)
			}
		}
	}
	if slices.ContainsFunc(c.authorities(t), func(authority string) bool { return authority != "" }) {
		t.Error("the authority is registered before anybody serves the certificate")
	}
}

// shared waits until both replicas serve the Secret's certificate, which is not the
// old one, and the API server reaches each of them by it.
func (c *cluster) shared(t *testing.T, replicas []*replica, old string) {
	t.Helper()
	for _, r := range replicas {
		testenv.Poll(t, func(context.Context) string {
			secret := c.secret(t)
			served, err := r.served(secret.Data["ca.crt"])
			switch {
			case err != nil:
				return err.Error()
			case served == old || served != string(secret.Data["tls.crt"]):
				return "the certificate is not the Secret's new one"
			}
			return ""
		})
		if err := r.WaitReady(t.Context()); err != nil {
			t.Fatalf("%v: %v", err, r.Ready(t.Context(), "webhook"))
		}
		c.awaitAuthority(t)
		c.injects(t, r)
	}
}

// awaitAuthority waits until all webhooks have the Secret's authority.
func (c *cluster) awaitAuthority(t *testing.T) {
	t.Helper()
	testenv.Poll(t, func(context.Context) string {
		want := string(c.secret(t).Data["ca.crt"])
		for i, authority := range c.authorities(t) {
			if authority != want || want == "" {
				return fmt.Sprintf("webhook %d has another authority than the Secret", i)
			}
		}
		return ""
	})
}

// ownedByObstack checks that the authority, and nothing else of the webhooks, is what
// the operator owns: by that, GitOps tools can leave it out of their comparison.
func (c *cluster) ownedByObstack(t *testing.T) {
	webhooks := &admissionv1.MutatingWebhookConfiguration{}
	if err := c.api.Get(t.Context(), client.ObjectKey{Name: configuration}, webhooks); err != nil {
		t.Fatal(err)
	}
	for _, entry := range webhooks.ManagedFields {
		fields := entry.FieldsV1.GetRawString()
		if entry.Manager != obsv1.FieldManager {
			if strings.Contains(fields, "caBundle") {
				t.Errorf("%s owns the authority too: %s", entry.Manager, fields)
			}
			continue
		}
		if strings.Count(fields, "f:caBundle") != len(webhooks.Webhooks) ||
			strings.Contains(fields, "f:rules") || strings.Contains(fields, "f:namespaceSelector") {
			t.Errorf("obstack owns %s, want the authorities alone", fields)
		}
		return
	}
	t.Error("obstack owns nothing of the webhooks")
}

// authorityTakenAway is what a tool does that replaces objects instead of applying them.
func (c *cluster) authorityTakenAway(t *testing.T, replicas []*replica) {
	webhooks := &admissionv1.MutatingWebhookConfiguration{}
	if err := c.api.Get(t.Context(), client.ObjectKey{Name: configuration}, webhooks); err != nil {
		t.Fatal(err)
	}
	for i := range webhooks.Webhooks {
		webhooks.Webhooks[i].ClientConfig.CABundle = nil
	}
	if err := c.api.Update(t.Context(), webhooks); err != nil {
		t.Fatal(err)
	}
	c.awaitAuthority(t)
	c.injects(t, replicas[1])
}

// lose takes keys out of the Secret and waits until everything works again.
func (c *cluster) lose(t *testing.T, replicas []*replica, keys ...string) {
	t.Helper()
	secret := c.secret(t)
	old := string(secret.Data["tls.crt"])
	for _, key := range keys {
		delete(secret.Data, key)
	}
	if err := c.api.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	c.shared(t, replicas, old)
}
