// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// ValueReader reads the Secrets and ConfigMaps that stacks refer to. It asks the API server only
// for versions that it has not read yet, and keeps of them what the specs name, and of that
// no more than the builders need.
//
// After a restart it reads none whose version is the one that the children were made
// from: what is part of the settings is in these, which are listed once, and of what exporters
// read the revision is enough.
type ValueReader struct {
	// Metadata reads through the cache, which has the stacks as well, Live from the API server.
	Metadata, Live client.Reader
	// Namespaces are those whose settings are listed; all if there are none.
	Namespaces []string

	known sync.Map // by stack: known

	lists   sync.Mutex                                 // held while the settings are listed
	written map[types.NamespacedName]map[string]string // the values in them by digest, until a pass has read all
	listErr error                                      // why they could not be listed
	listAt  time.Time                                  // when that is tried again
}

// known is what the last pass over a stack read.
type known struct {
	values map[desired.Ref]desired.Value
	// whole is set once a pass has read all, so that what a former process wrote is needed no more.
	whole bool
}

// listAgainAfter a list failed: it may take long, and the first pass over every stack needs it.
const listAgainAfter = 10 * time.Second

// Values returns what the keys that a stack refers to hold. That an object or a key
// is missing is no error, and one that cannot be read does not stop the others. Sources are the
// versions from which the children were made.
func (s *ValueReader) Values(
	ctx context.Context, stack *obsv1.ObservabilityStack, sources desired.Sources,
) (map[desired.KeyRef]desired.Value, error) {
	name := client.ObjectKeyFromObject(stack)
	last, _ := s.known.Load(name)
	before, _ := last.(known)
	now := known{values: map[desired.Ref]desired.Value{}, whole: before.whole}
	values := map[desired.KeyRef]desired.Value{}
	read := map[string]client.Object{}
	var failures []error
	for _, ref := range desired.Refs(stack) {
		value, err := s.value(ctx, name, ref, before.values[ref], sources, read)
		now.values[ref] = before.values[ref] // Also of a Secret that is gone: it may be made anew.
		if err != nil {
			failures = append(failures, err)
			values[ref.KeyRef] = desired.Value{Unread: true}
		} else if value.Exists {
			now.values[ref], values[ref.KeyRef] = value, value
		}
	}
	if !now.whole && len(failures) == 0 {
		s.dropWritten(name)
		now.whole = true
	}
	s.known.Store(name, now)
	return values, errors.Join(failures...)
}

// value returns the last one while its version is there, or reads another.
func (s *ValueReader) value(
	ctx context.Context, stack types.NamespacedName, ref desired.Ref, last desired.Value,
	sources desired.Sources, read map[string]client.Object,
) (none desired.Value, err error) {
	kind, whole := metadata.Secret, client.Object(&corev1.Secret{})
	if ref.ConfigMap {
		kind, whole = metadata.ConfigMap, &corev1.ConfigMap{}
	}
	seen, err := metadata.Find(ctx, s.Metadata, kind, types.NamespacedName{Namespace: stack.Namespace, Name: ref.Name})
	if seen == nil || err != nil {
		return none, err
	}
	name := ref.Kind() + " " + ref.Name
	if !last.Exists {
		if last, err = s.fromChildren(ctx, stack, ref, seen, sources.Of(ref)); err != nil {
			return none, err
		}
	}
	if last.Exists && last.ResourceVersion == seen.ResourceVersion {
		return last, nil
	}
	if read[name] == nil { // Several of its keys may be named.
		if err := s.Live.Get(ctx, client.ObjectKeyFromObject(seen), whole); err != nil {
			if client.IgnoreNotFound(err) == nil {
				return none, nil
			}
			return none, fmt.Errorf("read %s: %w", name, err)
		}
		read[name] = whole
	}
	return desired.NewValue(ref, read[name], desired.DataOf(read[name]), last.Source), nil
}

// Forget drops what a stack that is gone referred to.
func (s *ValueReader) Forget(stack types.NamespacedName) {
	s.dropWritten(stack)
	s.known.Delete(stack)
}

func (s *ValueReader) dropWritten(stack types.NamespacedName) {
	s.lists.Lock()
	defer s.lists.Unlock()
	delete(s.written, stack)
}

// fromChildren takes a key from what a former process wrote, if that was made from the
// version that is there, and else its source alone.
func (s *ValueReader) fromChildren(
	ctx context.Context, stack types.NamespacedName, ref desired.Ref,
	seen *metav1.PartialObjectMetadata, source desired.Source,
) (value desired.Value, err error) {
	value.Source = source
	if source.ResourceVersion != seen.ResourceVersion {
		return value, nil
	}
	value.Exists, value.KeyExists = true, true
	if ref.Use&desired.UseSetting != 0 {
		var written map[string]string
		written, err = s.writtenValues(ctx, stack)
		value.Value, value.Exists = written[source.Digest] // Else the version that had it is gone.
	}
	return value, err
}

// writtenValues takes a stack's values from the versions of its settings that a former process
// wrote.
func (s *ValueReader) writtenValues(ctx context.Context, stack types.NamespacedName) (map[string]string, error) {
	s.lists.Lock()
	defer s.lists.Unlock()
	if s.written != nil {
		return s.written[stack], nil
	}
	if s.listErr != nil && time.Now().Before(s.listAt) {
		return nil, s.listErr
	}
	written := map[types.NamespacedName]map[string]string{}
	for _, namespace := range s.namespaces() {
		if err := s.listSettings(ctx, namespace, written); err != nil {
			s.listErr, s.listAt = fmt.Errorf("list the settings: %w", err), time.Now().Add(listAgainAfter)
			return nil, s.listErr
		}
	}
	s.written, s.listErr = written, nil
	return s.written[stack], nil
}

func (s *ValueReader) namespaces() []string {
	if len(s.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return s.Namespaces
}

func (s *ValueReader) listSettings(ctx context.Context, namespace string,
	written map[types.NamespacedName]map[string]string) error {
	empty := func() *corev1.SecretList { return &corev1.SecretList{} }
	pages := metadata.Pages(ctx, s.Live, empty, client.InNamespace(namespace), desired.SettingsLabels, metadata.WholePage)
	for page, err := range pages {
		if err != nil {
			return err
		}
		for i := range page.Items {
			version, ok := settings.VersionOf(&page.Items[i])
			if !ok || version.Namespace != version.Stack.Namespace ||
				s.Metadata.Get(ctx, version.Stack, &obsv1.ObservabilityStack{}) != nil { // Nobody would drop its values.
				continue
			}
			if written[version.Stack] == nil {
				written[version.Stack] = map[string]string{desired.DigestOf(""): ""} // A DSN that is empty is not written.
			}
			for _, value := range page.Items[i].Data {
				written[version.Stack][desired.DigestOf(string(value))] = string(value)
			}
		}
	}
	return nil
}
