// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

// SecretReader reads Secrets that stacks refer to. It asks the API server only for
// versions that it has not read yet, and keeps of them what the specs name, and of that
// no more than the builders need.
//
// After a restart it reads none whose version is the one that the children were made
// from: DSNs are in the settings, which are listed once, and of what exporters read the
// revision is enough. Those are read later, when the start is long over.
type SecretReader struct {
	// Metadata reads through the cache, Live from the API server.
	Metadata, Live client.Reader
	// Namespaces are those whose settings are listed; all if there are none.
	Namespaces []string
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	known map[types.NamespacedName]map[desired.SecretRef]secretKey // by stack

	lists   sync.Mutex                      // held while the settings are listed
	written map[types.NamespacedName]string // the DSNs in them, until the first pass
}

// secretKey is what is known of one key.
type secretKey struct {
	desired.SecretValue
	// readAt is when a value is read that was not when the operator started.
	readAt time.Time
}

// readLater is how long after a start the values are read that nothing has changed about.
const readLater = 30 * time.Minute

// Values returns what the Secret keys that a stack refers to hold. That a Secret or a key
// is missing is no error. Sources are the versions from which the children were made.
func (s *SecretReader) Values(
	ctx context.Context, stack *obsv1.ObservabilityStack, sources desired.Sources,
) (map[obsv1.SecretKeySelector]desired.SecretValue, error) {
	name := client.ObjectKeyFromObject(stack)
	before, known := s.load(name), map[desired.SecretRef]secretKey{}
	values := map[obsv1.SecretKeySelector]desired.SecretValue{}
	read := map[string]*corev1.Secret{}
	for _, ref := range desired.SecretRefs(stack) {
		key, exists, err := s.value(ctx, name, ref, before[ref], sources, read)
		if err != nil {
			return nil, err
		}
		known[ref] = before[ref] // Also of a Secret that is gone: it may be made anew.
		if exists {
			known[ref], values[ref.SecretKeySelector] = key, key.SecretValue
		}
	}
	s.store(name, known)
	return values, nil
}

// value returns the last one while its version is there, or reads another.
func (s *SecretReader) value(
	ctx context.Context, stack types.NamespacedName, ref desired.SecretRef, last secretKey,
	sources desired.Sources, read map[string]*corev1.Secret,
) (key secretKey, exists bool, err error) {
	seen := metadata.Of(metadata.Secret)
	if err := s.Metadata.Get(ctx, types.NamespacedName{Namespace: stack.Namespace, Name: ref.Name}, seen); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return last, false, nil
		}
		return last, false, fmt.Errorf("read metadata of Secret %s: %w", ref.Name, err)
	}
	if last.ResourceVersion == seen.ResourceVersion && (last.readAt.IsZero() || s.Now().Before(last.readAt)) {
		return last, true, nil
	}
	if !last.SecretExists {
		if last, exists, err = s.fromChildren(ctx, stack, ref, seen, sources); exists || err != nil {
			return last, exists, err
		}
	}
	return s.fromSecret(ctx, seen, ref, last, read)
}

// Forget drops what a stack that is gone referred to.
func (s *SecretReader) Forget(stack types.NamespacedName) { s.store(stack, nil) }

func (s *SecretReader) load(stack types.NamespacedName) map[desired.SecretRef]secretKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[stack]
}

func (s *SecretReader) store(stack types.NamespacedName, known map[desired.SecretRef]secretKey) {
	s.lists.Lock()
	delete(s.written, stack)
	s.lists.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[types.NamespacedName]map[desired.SecretRef]secretKey{}
	}
	s.known[stack] = known
	if len(known) == 0 {
		delete(s.known, stack)
	}
}

// fromSecret reads a key, and a Secret of which several keys are named once. White space
// around a value is none of it: a line feed at the end comes and goes with the tool that
// made the Secret.
//
// The revision is keyed with the Secret's UID, which few know who may not read the Secret,
// but it stands in Events about it as well: whoever reads those can test guesses. A Secret
// that is made anew with the same value, as Helm's hooks and restores do, keeps the revision
// that it had.
func (s *SecretReader) fromSecret(
	ctx context.Context, seen *metav1.PartialObjectMetadata, ref desired.SecretRef, last secretKey,
	read map[string]*corev1.Secret,
) (key secretKey, exists bool, err error) {
	secret := read[ref.Name]
	if secret == nil {
		secret = &corev1.Secret{}
		if err := s.Live.Get(ctx, client.ObjectKeyFromObject(seen), secret); err != nil {
			if client.IgnoreNotFound(err) == nil {
				return key, false, nil
			}
			return key, false, fmt.Errorf("read Secret %s: %w", ref.Name, err)
		}
		read[ref.Name] = secret
	}
	data, found := secret.Data[ref.Key]
	value := strings.TrimSpace(string(data))
	key.SecretValue = desired.SecretValue{SecretExists: true, KeyExists: found}
	key.Source = desired.Source{ResourceVersion: secret.ResourceVersion, Digest: digest(value), Revision: last.Revision}
	if ref.Use != desired.UseExporter {
		key.Value = value
	}
	if !last.KeyExists || last.Digest != key.Digest && last.ResourceVersion != secret.ResourceVersion {
		mac := hmac.New(sha256.New, []byte(secret.UID))
		mac.Write([]byte(value))
		key.Revision = hex.EncodeToString(mac.Sum(nil)[:16])
	}
	return key, true, nil
}

func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// fromChildren takes a key from what a former process wrote, if that was made from the
// version that is there.
func (s *SecretReader) fromChildren(
	ctx context.Context, stack types.NamespacedName, ref desired.SecretRef,
	seen *metav1.PartialObjectMetadata, sources desired.Sources,
) (key secretKey, ok bool, err error) {
	source := sources.Of(ref)
	if source.ResourceVersion != seen.ResourceVersion {
		return key, false, nil
	}
	key.SecretValue = desired.SecretValue{SecretExists: true, KeyExists: true, Source: source}
	if ref.Use != desired.UseDSN {
		key.Accepted, key.readAt = true, s.Now().Add(readLater)
		return key, true, nil
	}
	dsn, err := s.writtenDSN(ctx, stack)
	key.Value = dsn
	return key, err == nil && digest(dsn) == source.Digest, err // Somebody may have edited the settings.
}

// writtenDSN takes a stack's DSN from the settings that a former process wrote.
func (s *SecretReader) writtenDSN(ctx context.Context, stack types.NamespacedName) (string, error) {
	s.lists.Lock()
	defer s.lists.Unlock()
	if s.written == nil {
		written := map[types.NamespacedName]string{}
		for _, namespace := range s.namespaces() {
			if err := s.listSettings(ctx, namespace, written); err != nil {
				return "", fmt.Errorf("list the settings: %w", err)
			}
		}
		s.written = written
	}
	return s.written[stack], nil
}

func (s *SecretReader) namespaces() []string {
	if len(s.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return s.Namespaces
}

func (s *SecretReader) listSettings(ctx context.Context, namespace string,
	written map[types.NamespacedName]string) error {
	page := &corev1.SecretList{}
	for more := true; more; more = page.Continue != "" {
		opts := []client.ListOption{
			client.InNamespace(namespace), client.Limit(500), client.Continue(page.Continue), desired.SettingsLabels,
		}
		page = &corev1.SecretList{}
		if err := s.Live.List(ctx, page, opts...); err != nil {
			return err
		}
		for i := range page.Items {
			stack := types.NamespacedName{Namespace: page.Items[i].Namespace, Name: page.Items[i].Labels[obsv1.LabelStack]}
			if dsn, ok := page.Items[i].Data[desired.VariableDSN]; ok {
				written[stack] = string(dsn)
			}
		}
	}
	return nil
}
