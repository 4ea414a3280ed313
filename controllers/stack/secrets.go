// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// SecretReader reads Secrets that stacks refer to. It asks the API server only for
// versions that it has not read yet, and keeps of them what the specs name, and of that
// no more than the builders need.
//
// After a restart it reads none whose version is the one that the children were made
// from: DSNs are in the settings, which are listed once, and of what exporters read the
// revision is enough.
type SecretReader struct {
	// Metadata reads through the cache, Live from the API server.
	Metadata, Live client.Reader
	// Namespaces are those whose settings are listed; all if there are none.
	Namespaces []string

	known sync.Map // by stack: a map from desired.SecretRef to desired.SecretValue

	lists   sync.Mutex                                 // held while the settings are listed
	written map[types.NamespacedName]map[string]string // the DSNs in them by digest, until the first pass
}

// Values returns what the Secret keys that a stack refers to hold. That a Secret or a key
// is missing is no error, and one that cannot be read does not stop the others. Sources are the
// versions from which the children were made.
func (s *SecretReader) Values(
	ctx context.Context, stack *obsv1.ObservabilityStack, sources desired.Sources,
) (map[obsv1.SecretKeySelector]desired.SecretValue, error) {
	name := client.ObjectKeyFromObject(stack)
	last, _ := s.known.Load(name)
	before, _ := last.(map[desired.SecretRef]desired.SecretValue) // nil in the first pass
	known := map[desired.SecretRef]desired.SecretValue{}
	values := map[obsv1.SecretKeySelector]desired.SecretValue{}
	read := map[string]*corev1.Secret{}
	var failures []error
	for _, ref := range desired.SecretRefs(stack) {
		value, err := s.value(ctx, name, ref, before[ref], sources, read)
		known[ref] = before[ref] // Also of a Secret that is gone: it may be made anew.
		if err != nil {
			failures = append(failures, err)
			values[ref.SecretKeySelector] = desired.SecretValue{Unread: true}
		} else if value.SecretExists {
			known[ref], values[ref.SecretKeySelector] = value, value
		}
	}
	if before == nil {
		s.dropWritten(name)
	}
	s.known.Store(name, known)
	return values, errors.Join(failures...)
}

// value returns the last one while its version is there, or reads another.
func (s *SecretReader) value(
	ctx context.Context, stack types.NamespacedName, ref desired.SecretRef, last desired.SecretValue,
	sources desired.Sources, read map[string]*corev1.Secret,
) (none desired.SecretValue, err error) {
	seen := metadata.Of(metadata.Secret)
	if err := s.Metadata.Get(ctx, types.NamespacedName{Namespace: stack.Namespace, Name: ref.Name}, seen); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return none, nil
		}
		return none, fmt.Errorf("read metadata of Secret %s: %w", ref.Name, err)
	}
	if !last.SecretExists {
		if last, err = s.fromChildren(ctx, stack, ref, seen, sources.Of(ref)); err != nil {
			return none, err
		}
	}
	if last.SecretExists && last.ResourceVersion == seen.ResourceVersion {
		return last, nil
	}
	secret := read[ref.Name]
	if secret == nil { // Several of its keys may be named.
		secret = &corev1.Secret{}
		if err := s.Live.Get(ctx, client.ObjectKeyFromObject(seen), secret); err != nil {
			if client.IgnoreNotFound(err) == nil {
				return none, nil
			}
			return none, fmt.Errorf("read Secret %s: %w", ref.Name, err)
		}
		read[ref.Name] = secret
	}
	return desired.NewSecretValue(ref, secret, last.Source), nil
}

// Forget drops what a stack that is gone referred to.
func (s *SecretReader) Forget(stack types.NamespacedName) {
	s.dropWritten(stack)
	s.known.Delete(stack)
}

func (s *SecretReader) dropWritten(stack types.NamespacedName) {
	s.lists.Lock()
	defer s.lists.Unlock()
	delete(s.written, stack)
}

// fromChildren takes a key from what a former process wrote, if that was made from the
// version that is there, and else its source alone.
func (s *SecretReader) fromChildren(
	ctx context.Context, stack types.NamespacedName, ref desired.SecretRef,
	seen *metav1.PartialObjectMetadata, source desired.Source,
) (value desired.SecretValue, err error) {
	value.Source = source
	if source.ResourceVersion != seen.ResourceVersion {
		return value, nil
	}
	value.SecretExists, value.KeyExists = true, true
	if ref.Use == desired.UseDSN {
		var written map[string]string
		written, err = s.writtenDSNs(ctx, stack)
		value.Value, value.SecretExists = written[source.Digest] // Else the version that had it is gone.
	}
	return value, err
}

// writtenDSNs takes a stack's DSNs from the versions of its settings that a former process wrote.
func (s *SecretReader) writtenDSNs(ctx context.Context, stack types.NamespacedName) (map[string]string, error) {
	s.lists.Lock()
	defer s.lists.Unlock()
	if s.written == nil {
		written := map[types.NamespacedName]map[string]string{}
		for _, namespace := range s.namespaces() {
			if err := s.listSettings(ctx, namespace, written); err != nil {
				return nil, fmt.Errorf("list the settings: %w", err)
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
	written map[types.NamespacedName]map[string]string) error {
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
			version, ok := settings.VersionOf(&page.Items[i])
			if !ok || version.Namespace != version.Stack.Namespace {
				continue
			}
			if written[version.Stack] == nil {
				written[version.Stack] = map[string]string{}
			}
			dsn := string(page.Items[i].Data[desired.VariableDSN])
			written[version.Stack][desired.DigestOf(dsn)] = dsn
		}
	}
	return nil
}
