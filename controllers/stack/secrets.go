// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

// SecretReader reads Secrets that stacks refer to. It asks the API server only for
// versions that it has not read yet, and keeps of them what the specs name, and of that
// no more than the builders need.
type SecretReader struct {
	// Metadata reads through the cache, Live from the API server.
	Metadata, Live client.Reader

	mu    sync.Mutex
	named map[types.NamespacedName][]desired.SecretRef // by stack
	known map[types.NamespacedName]secretVersion       // by Secret, for all stacks of its namespace
}

// secretVersion is what was read of one version of a Secret. It is not changed, but replaced.
type secretVersion struct {
	resourceVersion string
	keys            map[desired.SecretRef]secretKey
}

// secretKey is what was read of one key.
type secretKey struct {
	desired.SecretValue
	// digest of the value; it stays in this process.
	digest [sha256.Size]byte
}

// Values returns what the Secret keys that a stack refers to hold. That a Secret or a key
// is missing is no error.
func (s *SecretReader) Values(
	ctx context.Context, stack *obsv1.ObservabilityStack,
) (map[obsv1.SecretKeySelector]desired.SecretValue, error) {
	refs := desired.SecretRefs(stack)
	s.keep(client.ObjectKeyFromObject(stack), refs)
	values := map[obsv1.SecretKeySelector]desired.SecretValue{}
	for _, ref := range refs {
		value, err := s.value(ctx, types.NamespacedName{Namespace: stack.Namespace, Name: ref.Name}, ref)
		if err != nil {
			return nil, err
		}
		values[ref.SecretKeySelector] = value
	}
	return values, nil
}

// Forget drops what only a stack that is gone referred to.
func (s *SecretReader) Forget(stack types.NamespacedName) { s.keep(stack, nil) }

// keep notes what a stack refers to, and drops what no stack does any more.
func (s *SecretReader) keep(stack types.NamespacedName, refs []desired.SecretRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.named[stack]
	if slices.Equal(before, refs) {
		return
	}
	if s.named == nil {
		s.named = map[types.NamespacedName][]desired.SecretRef{}
	}
	s.named[stack] = refs
	if len(refs) == 0 {
		delete(s.named, stack)
	}
	for _, ref := range before {
		name := types.NamespacedName{Namespace: stack.Namespace, Name: ref.Name}
		if version, ok := s.known[name]; ok && !s.isNamed(stack.Namespace, ref) {
			version.keys = maps.Clone(version.keys)
			delete(version.keys, ref)
			s.known[name] = version
			if len(version.keys) == 0 {
				delete(s.known, name)
			}
		}
	}
}

// isNamed reports whether a stack of the namespace refers to a key.
func (s *SecretReader) isNamed(namespace string, ref desired.SecretRef) bool {
	for stack, refs := range s.named {
		if stack.Namespace == namespace && slices.Contains(refs, ref) {
			return true
		}
	}
	return false
}

func (s *SecretReader) value(
	ctx context.Context, name types.NamespacedName, ref desired.SecretRef,
) (desired.SecretValue, error) {
	seen := metadata.Of(metadata.Secret)
	if err := s.Metadata.Get(ctx, name, seen); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return desired.SecretValue{}, nil
		}
		return desired.SecretValue{}, fmt.Errorf("read metadata of Secret %s: %w", ref.Name, err)
	}
	version := s.load(name)
	if key, ok := version.keys[ref]; ok && version.resourceVersion == seen.ResourceVersion {
		return key.SecretValue, nil
	}
	secret := &corev1.Secret{}
	if err := s.Live.Get(ctx, name, secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return desired.SecretValue{}, nil
		}
		return desired.SecretValue{}, fmt.Errorf("read Secret %s: %w", ref.Name, err)
	}
	return s.store(name, secret, ref).SecretValue, nil
}

func (s *SecretReader) load(name types.NamespacedName) secretVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[name]
}

// store reads a key, and again those that were read of the version before.
func (s *SecretReader) store(name types.NamespacedName, secret *corev1.Secret, ref desired.SecretRef) secretKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.known[name]
	version := secretVersion{secret.ResourceVersion, map[desired.SecretRef]secretKey{ref: keyOf(secret, ref, before)}}
	for other := range before.keys {
		version.keys[other] = keyOf(secret, other, before)
	}
	if s.known == nil {
		s.known = map[types.NamespacedName]secretVersion{}
	}
	s.known[name] = version
	return version.keys[ref]
}

// keyOf reads one key. White space around a value is none of it: a line feed at the end
// comes and goes with the tool that made the Secret.
//
// The revision is keyed with the Secret's UID, which only those know who may read the
// Secret: nobody else can test guesses against it. A Secret that is made anew with the
// same value, as Helm's hooks and restores do, keeps the revision that it had.
func keyOf(secret *corev1.Secret, ref desired.SecretRef, before secretVersion) secretKey {
	data, ok := secret.Data[ref.Key]
	value := strings.TrimSpace(string(data))
	key := secretKey{desired.SecretValue{SecretExists: true, KeyExists: ok}, sha256.Sum256([]byte(value))}
	if ref.NeedsValue {
		key.Value = value
	}
	if last := before.keys[ref]; last.KeyExists && last.digest == key.digest {
		key.Revision = last.Revision
		return key
	}
	mac := hmac.New(sha256.New, []byte(secret.UID))
	mac.Write([]byte(value))
	key.Revision = hex.EncodeToString(mac.Sum(nil)[:16])
	return key
}
