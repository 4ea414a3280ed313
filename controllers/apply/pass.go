// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pass is one look at an owner's children and what is done about them. It is
// not safe for concurrent use.
type Pass struct {
	engine *Engine
	owner  client.Object
	live   map[Key]*metav1.PartialObjectMetadata
	wanted map[Key]bool
	// inherited are those of the children that the process before this one left, until they are
	// claimed.
	inherited map[Key]inheritance
	// failed are the kinds whose children could not be listed.
	failed map[schema.GroupKind]error
	// raced is set if somebody wrote to a child after this pass did.
	raced bool
}

// NameTakenError says that an object which the owner does not control has the
// name of one that it wants. Such an object is never changed.
type NameTakenError struct {
	Kind, Name string
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("%s %s exists and belongs to somebody else", e.Kind, e.Name)
}

// Rejected reports whether the API server refuses a request as it is, so that sending it again
// does not help: it is invalid, or a quota, an admission policy or missing RBAC forbids it.
func Rejected(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)
}

// Apply makes the objects exist as given, in order. An object that fails does
// not stop the others; the errors are joined.
func (p *Pass) Apply(ctx context.Context, objects []client.Object) error {
	var failures []error
	for _, obj := range objects {
		if err := p.applyOne(ctx, obj); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func (p *Pass) applyOne(ctx context.Context, obj client.Object) error {
	req, settled, err := p.prepare(obj)
	if settled || err != nil {
		return err
	}
	p.engine.store(p.owner.GetUID(), req.key, record{writing: true})
	response, err := p.write(ctx, req)
	if err != nil {
		p.engine.drop(p.owner.GetUID(), req.key)
		return fmt.Errorf("apply %s %s: %w", req.key.Kind, req.key.Name, err)
	}
	p.settle(req, response)
	return nil
}

// prepare makes the request for an object and notes that it is wanted. It is
// settled if there is nothing to send.
func (p *Pass) prepare(obj client.Object) (req *request, settled bool, err error) {
	req, err = p.engine.newRequest(p.owner, obj)
	if err != nil {
		return nil, false, err
	}
	p.wanted[req.key] = true
	if err := p.failed[req.key.GroupKind]; err != nil {
		return nil, false, err
	}
	live, found := p.live[req.key]
	if !found {
		return req, false, nil
	}
	last, known := p.engine.load(p.owner.GetUID(), req.key)
	if !known {
		last, known = p.claim(req)
	}
	return req, known && req.unchanged(last, live), nil
}

// write makes a child that is not listed and applies to one that is.
func (p *Pass) write(ctx context.Context, req *request) (*metav1.PartialObjectMetadata, error) {
	if _, found := p.live[req.key]; !found {
		response, err := p.create(ctx, req)
		if !apierrors.IsConflict(err) {
			return response, err
		}
		// The name is taken: by another's object, or by a child that is not
		// listed yet, or not any more because its labels were taken away.
		ours, lookErr := p.look(ctx, req)
		if lookErr != nil {
			return nil, lookErr
		}
		if !ours {
			return nil, err // It is gone already: the next pass makes it.
		}
	}
	response, err := p.send(ctx, req, "")
	if invalidFields(err) && p.replaceable(ctx, req) {
		return p.replace(ctx, req)
	}
	return response, err
}

// look asks the API server for the object that has a child's name: whether there
// is one that is ours. Somebody else's is a NameTakenError.
func (p *Pass) look(ctx context.Context, req *request) (ours bool, err error) {
	found, err := p.get(ctx, req.kind, req.key.object())
	if found == nil || err != nil {
		return false, err
	}
	// An orphan that carries all our labels lost its owner reference: it is ours.
	orphan := metav1.GetControllerOf(found) == nil && containsAll(found.Labels, req.object.GetLabels())
	if !metav1.IsControlledBy(found, p.owner) && !orphan {
		return false, &NameTakenError{Kind: req.key.Kind, Name: req.key.Name}
	}
	return true, nil
}

// get reads the metadata of an object from the API server; nil if there is none.
func (p *Pass) get(
	ctx context.Context, kind schema.GroupVersionKind, name types.NamespacedName,
) (*metav1.PartialObjectMetadata, error) {
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(kind)
	err := p.engine.Live.Get(ctx, name, found)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s %s: %w", kind.Kind, name, err)
	}
	found.SetGroupVersionKind(kind)
	return found, nil
}

// create applies the request if the name is free, and is a conflict otherwise. An
// apply that names a resource version must meet it, if there is an object; if there
// is none, the API server does not look at it. So one request sees whether the
// name is free and takes it, with nobody in between.
func (p *Pass) create(ctx context.Context, req *request) (*metav1.PartialObjectMetadata, error) {
	return p.send(ctx, req, noVersion)
}

// send applies the request and returns the metadata of the result. It asks for
// no more than the metadata, because the whole of a dashboard is large. Nor does it
// ask for the search for duplicate fields, for which the API server reads a body a
// second time: an encoder writes none. An unknown field is refused in any case.
func (p *Pass) send(ctx context.Context, req *request, version string) (*metav1.PartialObjectMetadata, error) {
	body, err := req.encode(version)
	if err != nil {
		return nil, err
	}
	response := &metav1.PartialObjectMetadata{}
	response.SetGroupVersionKind(req.kind)
	response.Namespace, response.Name = req.key.Namespace, req.key.Name
	err = p.engine.Client.Patch(ctx, response, client.RawPatch(types.ApplyPatchType, body),
		client.FieldOwner(p.engine.FieldManager), client.ForceOwnership, client.FieldValidation(metav1.FieldValidationIgnore))
	return response, err
}

// invalidFields reports whether the API server itself refuses values of fields. Admission policies
// and webhooks, which say so too, may refuse a change that they would not see in a deletion and a
// creation.
func invalidFields(err error) bool {
	status := apierrors.APIStatus(nil)
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) ||
		strings.HasPrefix(status.Status().Message, "admission webhook") || status.Status().Details == nil {
		return false
	}
	causes := status.Status().Details.Causes
	return len(causes) > 0 &&
		!slices.ContainsFunc(causes, func(cause metav1.StatusCause) bool { return cause.Field == "" })
}

// replaceable reports whether a request that was refused would be accepted if the
// child were not there: then somebody's edit cannot be merged with it, such as
// another port under the same name, or it changes a field that is immutable.
func (p *Pass) replaceable(ctx context.Context, req *request) bool {
	live, found := p.live[req.key]
	if !found || !live.DeletionTimestamp.IsZero() {
		return false
	}
	trial := req.object.DeepCopyObject().(client.Object)
	trial.SetName("")
	trial.SetGenerateName(req.key.Name + "-")
	return p.engine.Client.Create(ctx, trial, client.DryRunAll) == nil
}

// replace deletes the child and applies it anew.
func (p *Pass) replace(ctx context.Context, req *request) (*metav1.PartialObjectMetadata, error) {
	if err := p.remove(ctx, p.live[req.key]); err != nil {
		return nil, fmt.Errorf("make room: %w", err)
	}
	return p.create(ctx, req)
}

// remove deletes a child. The UID keeps us from deleting what took its name meanwhile.
func (p *Pass) remove(ctx context.Context, child *metav1.PartialObjectMetadata) error {
	err := p.engine.Client.Delete(ctx, child,
		client.Preconditions{UID: &child.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

// Incomplete reports whether some kind could not be listed, so that children which are wanted no
// more may have stayed.
func (p *Pass) Incomplete() bool { return len(p.failed) > 0 }

// Raced reports whether somebody wrote to a child after this pass did, and no event
// will show it any more: another pass has to look.
func (p *Pass) Raced() bool { return p.raced }

// Labels are those that an object has now, which may be more than were applied; nil if it is not
// there.
func (p *Pass) Labels(key Key) map[string]string {
	if live, ok := p.live[key]; ok {
		return live.Labels
	}
	return nil
}

func (p *Pass) settle(req *request, response *metav1.PartialObjectMetadata) {
	p.live[req.key] = response
	before := p.engine.store(p.owner.GetUID(), req.key, newRecord(req.hash, response))
	if before.seen != "" && newer(before.seen, response.ResourceVersion) {
		p.raced = true
	}
}

// Prune deletes the children that the owner controls and did not ask for in
// this pass, except those to hold.
func (p *Pass) Prune(ctx context.Context, hold func(*metav1.PartialObjectMetadata) bool) error {
	var failures []error
	for _, key := range p.unwanted(hold) {
		if err := p.remove(ctx, p.live[key]); err != nil {
			failures = append(failures, fmt.Errorf("delete %s %s: %w", key.Kind, key.Name, err))
			continue
		}
		p.engine.drop(p.owner.GetUID(), key)
	}
	return errors.Join(failures...)
}

// unwanted are the children to prune, sorted.
func (p *Pass) unwanted(hold func(*metav1.PartialObjectMetadata) bool) []Key {
	var keys []Key
	for key, child := range p.live {
		if !p.wanted[key] && child.DeletionTimestamp.IsZero() && metav1.IsControlledBy(child, p.owner) && !hold(child) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return strings.Compare(a.Kind+"/"+a.Namespace+"/"+a.Name, b.Kind+"/"+b.Namespace+"/"+b.Name)
	})
	return keys
}
