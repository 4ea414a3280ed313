// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// secrets is a reader of Secrets, in full or as metadata, and of the stack shop/shop.
type secrets struct {
	client.Reader
	all   map[types.NamespacedName]*corev1.Secret
	reads int // in full
	lists int
	away  error // what lists fail with
}

func (s *secrets) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	s.lists++
	if s.away != nil {
		return s.away
	}
	for _, secret := range s.all {
		if secret.Labels != nil {
			list.(*corev1.SecretList).Items = append(list.(*corev1.SecretList).Items, *secret)
		}
	}
	return nil
}

func (s *secrets) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if _, isStack := obj.(*obsv1.ObservabilityStack); isStack && key.Name == "shop" {
		return nil
	}
	secret, ok := s.all[key]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	switch into := obj.(type) {
	case *corev1.Secret:
		s.reads++
		secret.DeepCopyInto(into)
	case *metav1.PartialObjectMetadata:
		secret.ObjectMeta.DeepCopyInto(&into.ObjectMeta)
	}
	return nil
}

// put makes a Secret of namespace shop.
func (s *secrets) put(name, uid, version string, data map[string]string) {
	secret := &corev1.Secret{Data: map[string][]byte{}}
	secret.Namespace, secret.Name, secret.UID, secret.ResourceVersion = "shop", name, types.UID(uid), version
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	s.all[client.ObjectKeyFromObject(secret)] = secret
}

// secretStack refers to a DSN, a broker's URL and its TLS key.
func secretStack() *obsv1.ObservabilityStack {
	from := func(name, key string) *obsv1.SecretKeySource {
		return &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: key}}
	}
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Sentry = &obsv1.SentrySpec{DSNFrom: from("sentry", "dsn")}
	stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{
		Name: "main", URLFrom: from("broker", "url"), TLS: &obsv1.BrokerTLS{SecretName: "broker", ClientCertificate: true},
	}}}
	return stack
}

func newValueReader() (*ValueReader, *secrets) {
	all := &secrets{all: map[types.NamespacedName]*corev1.Secret{}}
	all.put("sentry", "1", "1", map[string]string{"dsn": "https://k@sentry.example/1"})
	all.put("broker", "2", "1",
		map[string]string{"url": "redis://:hunter2@redis", "tls.key": "PRIVATE", "tls.crt": "PUBLIC", "ca.crt": "CA"})
	return &ValueReader{Metadata: all, Live: all}, all
}

func (s *ValueReader) values(t *testing.T, stack *obsv1.ObservabilityStack) map[string]desired.Value {
	t.Helper()
	values, err := s.Values(t.Context(), stack, nil)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]desired.Value{}
	for ref, value := range values {
		byKey[ref.Key] = value
	}
	return byKey
}

func TestValueReaderKeepsTheRevisionOfEqualValues(t *testing.T) {
	for name, tc := range map[string]struct {
		uid, dsn string
		want     bool
	}{
		"made anew":              {"9", "https://k@sentry.example/1", true},
		"a line feed at the end": {"1", "https://k@sentry.example/1\n", true},
		"another value":          {"1", "https://other@sentry.example/1", false},
	} {
		t.Run(name, func(t *testing.T) {
			reader, all := newValueReader()
			first := reader.values(t, secretStack())["dsn"]
			delete(all.all, types.NamespacedName{Namespace: "shop", Name: "sentry"})
			if gone := reader.values(t, secretStack())["dsn"]; gone.Exists {
				t.Error("a Secret that is gone exists")
			}
			all.put("sentry", tc.uid, name, map[string]string{"dsn": tc.dsn})
			got := reader.values(t, secretStack())["dsn"]
			if (got.Revision == first.Revision) != tc.want {
				t.Errorf("revision = %s, at first %s, want it kept: %v", got.Revision, first.Revision, tc.want)
			}
			if got.Value != strings.TrimSpace(tc.dsn) {
				t.Errorf("value = %q, want it trimmed", got.Value)
			}
		})
	}
}

func TestValueReaderReadsAVersionOnce(t *testing.T) {
	reader, all := newValueReader()
	reader.values(t, secretStack())
	all.reads = 0
	reader.values(t, secretStack())
	if all.reads != 0 {
		t.Errorf("%d reads of what was read, want none", all.reads)
	}
	all.put("broker", "2", "2",
		map[string]string{"url": "redis://:other@redis", "tls.key": "PRIVATE", "tls.crt": "PUBLIC", "ca.crt": "CA"})
	reader.values(t, secretStack())
	if all.reads != 1 {
		t.Errorf("%d reads of a Secret with four keys, want one", all.reads)
	}
}

func TestValueReaderKeepsNoMoreThanIsNeeded(t *testing.T) {
	reader, _ := newValueReader()
	stack := secretStack()
	values := reader.values(t, stack)
	for _, key := range []string{"dsn", "url", "tls.key", "tls.crt", "ca.crt"} {
		want := key == "dsn"
		if got := values[key]; !got.KeyExists || (got.Value != "") != want {
			t.Errorf("key %s exists: %v, its value is kept: %v, want %v", key, got.KeyExists, got.Value != "", want)
		}
	}
	stack.Spec.Tasks = nil
	reader.values(t, stack)
	last, _ := reader.known.Load(client.ObjectKeyFromObject(stack))
	if got := len(last.(known).values); got != 1 {
		t.Errorf("%d keys are known, want the one that the spec names", got)
	}
	reader.Forget(client.ObjectKeyFromObject(stack))
	last, left := reader.known.Load(client.ObjectKeyFromObject(stack))
	if left || len(reader.written) != 0 {
		t.Errorf("of a stack that is gone there is %v", last)
	}
}

// After a restart a Secret is read if it changed, and keeps its revision if the value did not.
func TestValueReaderReadsWhatChangedBeforeItStarted(t *testing.T) {
	const url = "redis://:hunter2@redis"
	for name, tc := range map[string]struct {
		source desired.Source
		reads  int
		want   string
	}{
		"unchanged": {desired.Source{ResourceVersion: "1", Revision: "kept", Digest: desired.DigestOf(url)}, 0, "kept"},
		"made anew": {desired.Source{ResourceVersion: "0", Revision: "kept", Digest: desired.DigestOf(url)}, 1, "kept"},
		"changed":   {desired.Source{ResourceVersion: "0", Revision: "kept", Digest: desired.DigestOf("x")}, 1, ""},
		"unknown":   {desired.Source{}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reader, all := newValueReader()
			stack := secretStack()
			stack.Spec.Sentry, stack.Spec.Tasks.Brokers[0].TLS = nil, nil
			for range 2 {
				values, err := reader.Values(t.Context(), stack, desired.Sources{"broker/url": tc.source})
				if err != nil {
					t.Fatal(err)
				}
				got := values[desired.KeyRef{Name: "broker", Key: "url"}]
				if all.reads != tc.reads || !got.KeyExists || got.Value != "" {
					t.Errorf("%d reads of %+v, want %d and no value", all.reads, got, tc.reads)
				}
				if tc.want != "" && got.Revision != tc.want || tc.want == "" && got.Revision == tc.source.Revision {
					t.Errorf("revision = %q, want it kept: %t", got.Revision, tc.want != "")
				}
			}
		})
	}
}

// TestValueReaderWaitsForNoListOfOthers: the settings are listed once, which may take long.
func TestValueReaderWaitsForNoListOfOthers(t *testing.T) {
	reader, _ := newValueReader()
	reader.values(t, secretStack())
	reader.lists.Lock()
	defer reader.lists.Unlock()
	reader.values(t, secretStack())
}

// TestValueReaderListsAgainAfterAWhile: where the settings cannot be listed, every stack's first
// pass fails, and each is tried again.
func TestValueReaderListsAgainAfterAWhile(t *testing.T) {
	const dsn, hash = "https://k@sentry.example/1", "0123456789abcdef0123456789abcdef"
	reader, all := newValueReader()
	for _, name := range []string{"shop", "gone"} {
		version := obsv1.SettingsName("shop", name, hash)
		all.put(version, "3", "1", map[string]string{"SENTRY_DSN": dsn})
		all.all[types.NamespacedName{Namespace: "shop", Name: version}].Labels = map[string]string{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: name, obsv1.LabelStackNamespace: "shop",
			obsv1.StampVersion: hash,
		}
	}
	sources := desired.Sources{"sentry/dsn": {ResourceVersion: "1", Revision: "kept", Digest: desired.DigestOf(dsn)}}
	stack, other := secretStack(), secretStack()
	stack.Spec.Tasks, other.Spec.Tasks, other.Name = nil, nil, "other"
	pass := func(stack *obsv1.ObservabilityStack, want string) {
		t.Helper()
		values, err := reader.Values(t.Context(), stack, sources)
		if got := values[desired.KeyRef{Name: "sentry", Key: "dsn"}].Value; got != want || (err == nil) != (want != "") {
			t.Errorf("value %q, error %v, want %q", got, err, want)
		}
	}
	all.away = errors.New("the API server is away")
	pass(stack, "")
	pass(stack, "")
	pass(other, "")
	if all.lists != 1 {
		t.Errorf("%d lists that fail, want one", all.lists)
	}
	all.away, reader.listAt = nil, time.Time{}
	pass(stack, dsn)
	if all.lists != 2 || all.reads != 0 {
		t.Errorf("%d lists and %d reads, want another list and none", all.lists, all.reads)
	}
	if left := len(reader.written); left != 0 {
		t.Errorf("the values of %d stacks are still in memory, want none", left)
	}
}
