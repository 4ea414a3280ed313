// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

// SecretReader reads Secrets that stacks refer to. It asks the API server only
// when the cached metadata show a resource version that it has not read yet.
type SecretReader struct {
	// Metadata reads through the cache, Live from the API server.
	Metadata, Live client.Reader

	mu    sync.Mutex
	known map[secretKey]knownSecret
}

// secretKey is one key of a Secret, to which all stacks of its namespace may refer.
type secretKey struct {
	namespace string
	obsv1.SecretKeySelector
}

type knownSecret struct {
	resourceVersion string
	value           desired.SecretValue
}

// Value returns what a key of a Secret in the stack's namespace holds. That the
// Secret or the key is missing is no error.
func (s *SecretReader) Value(ctx context.Context, stack *obsv1.ObservabilityStack, ref obsv1.SecretKeySelector) (desired.SecretValue, error) {
	name := client.ObjectKey{Namespace: stack.Namespace, Name: ref.Name}
	seen := metadata.Of(metadata.Secret)
	if err := s.Metadata.Get(ctx, name, seen); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return desired.SecretValue{}, nil
		}
		return desired.SecretValue{}, fmt.Errorf("read metadata of Secret %s: %w", ref.Name, err)
	}
	key := secretKey{stack.Namespace, ref}
	if known, ok := s.load(key); ok && known.resourceVersion == seen.ResourceVersion {
		return known.value, nil
	}
	secret := &corev1.Secret{}
	if err := s.Live.Get(ctx, name, secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return desired.SecretValue{}, nil
		}
		return desired.SecretValue{}, fmt.Errorf("read Secret %s: %w", ref.Name, err)
	}
	value := valueOf(secret, ref.Key)
	s.store(key, knownSecret{secret.ResourceVersion, value})
	return value, nil
}

// valueOf reads one key. The revision is keyed with the Secret's UID, which only
// those know who may read the Secret: nobody else can test guesses against it.
func valueOf(secret *corev1.Secret, key string) desired.SecretValue {
	data, ok := secret.Data[key]
	mac := hmac.New(sha256.New, []byte(secret.UID))
	mac.Write(data)
	return desired.SecretValue{
		SecretExists: true, KeyExists: ok,
		Value: string(data), Revision: hex.EncodeToString(mac.Sum(nil)[:16]),
	}
}

// Forget drops what a stack that is gone referred to. Another stack that refers to
// it too has it read again.
func (s *SecretReader) Forget(stack *obsv1.ObservabilityStack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range desired.SecretRefs(stack) {
		delete(s.known, secretKey{stack.Namespace, ref})
	}
}

func (s *SecretReader) load(key secretKey) (knownSecret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[key]
	return known, ok
}

func (s *SecretReader) store(key secretKey, known knownSecret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[secretKey]knownSecret{}
	}
	s.known[key] = known
}
