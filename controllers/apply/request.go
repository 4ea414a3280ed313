// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// request is one object, ready to be sent.
type request struct {
	kind schema.GroupVersionKind
	key  Key
	// content is all that the builder wants, encoded, and hash is its hash.
	content []byte
	hash    string
	// annotations are those that the builder wants.
	annotations map[string]string
	// object is the apply configuration: the kind is set, the owner is its controller,
	// and an annotation has the hash. A builtin type may have its status of zero values,
	// which the API server's strategies reset, and nobody comes to own.
	object client.Object
}

// newRequest turns a builder's object into an apply request. It does not change the object.
func (e *Engine) newRequest(owner, obj client.Object) (*request, error) {
	kind, err := apiutil.GVKForObject(obj, e.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("find the kind of %s: %w", obj.GetName(), err)
	}
	ownerKind, err := apiutil.GVKForObject(owner, e.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("find the kind of the owner: %w", err)
	}
	o := obj.DeepCopyObject().(client.Object)
	o.GetObjectKind().SetGroupVersionKind(kind)
	o.SetNamespace(owner.GetNamespace()) // the only one where an owner reference is allowed
	o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, ownerKind)})
	req := &request{
		kind: kind, key: Key{kind.GroupKind(), o.GetNamespace(), obj.GetName()},
		annotations: obj.GetAnnotations(), object: o,
	}
	if req.content, err = req.encode(""); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(req.content)
	req.hash = hex.EncodeToString(sum[:16])
	annotated := maps.Clone(req.annotations)
	if annotated == nil {
		annotated = map[string]string{}
	}
	annotated[e.HashAnnotation] = req.hash
	o.SetAnnotations(annotated)
	return req, nil
}

// encode is the request's body, for an object that has a resource version or, if that is empty,
// any.
func (r *request) encode(version string) ([]byte, error) {
	r.object.SetResourceVersion(version)
	defer r.object.SetResourceVersion("")
	body, err := json.Marshal(r.object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", r.key.Kind, r.key.Name, err)
	}
	return body, nil
}

// noVersion is a resource version that no object has: that of the empty store.
const noVersion = "1"

// unchanged reports whether sending the request would change nothing: it was sent
// before, and the child is still what came back then.
func (r *request) unchanged(last record, live *metav1.PartialObjectMetadata) bool {
	if last.hash != r.hash || last.uid != live.UID || !live.DeletionTimestamp.IsZero() {
		return false
	}
	// A cache that is behind shows the child as it was before our own write.
	// When it shows what came later, an event brings us here again.
	if !newer(live.ResourceVersion, last.resourceVersion) {
		return true
	}
	// Where the API server counts changes of the spec, changes of the status are
	// no reason to write. It does not count those of the metadata.
	return live.Generation != 0 && live.Generation == last.generation && r.metadataIntact(live)
}

// newer reports whether a resource version is later than another, or may be.
func newer(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return version != than && (err != nil || order > 0)
}

// metadataIntact reports whether the live metadata still have all that the builder wants.
func (r *request) metadataIntact(live *metav1.PartialObjectMetadata) bool {
	return containsAll(live.Labels, r.object.GetLabels()) && containsAll(live.Annotations, r.annotations)
}

func containsAll(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}
