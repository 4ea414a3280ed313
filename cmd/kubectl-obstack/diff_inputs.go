// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/selection"
	"obstack.dev/obstack/controllers/settings"
)

// observe reads what a pass of the operator would, as far as the caller may; the objects are those
// of the stack that exist.
func (c *comparison) observe(ctx context.Context, objects existing) error {
	c.inputs = desired.Inputs{
		MissingAPIs: map[schema.GroupKind]bool{}, Operator: c.operator(objects), ExporterImage: c.exporterImage(objects),
	}
	for _, kind := range optionalKinds {
		c.inputs.MissingAPIs[kind.GroupKind()] = !c.serves(kind)
	}
	if err := c.observePlatform(ctx); err != nil {
		return err
	}
	effective := desired.Effective(c.stack, c.inputs.Platform.Spec)
	if err := c.observeValues(ctx, effective, objects); err != nil {
		return err
	}
	return c.discover(ctx, effective)
}

// serves reports whether the cluster serves a kind.
func (c *comparison) serves(kind schema.GroupVersionKind) bool {
	_, err := c.api.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	return err == nil
}

func (c *comparison) observePlatform(ctx context.Context) error {
	if c.platform != nil {
		c.inputs.Platform = *c.platform
		return nil
	}
	found, err := platform.Resolver{Reader: c.api}.For(ctx, c.stack)
	if apierrors.IsForbidden(err) {
		c.unknown("the defaults of the ObservabilityPlatform, if there is one: you may not read it; --platform FILE " +
			"gives one")
		return nil
	}
	c.inputs.Platform = found
	return err
}

// observeValues reads what the stack refers to, and the versions of its settings that exist.
func (c *comparison) observeValues(ctx context.Context, effective *obsv1.ObservabilityStack, objects existing) error {
	refs, sources := desired.Refs(effective), desired.Sources{}
	// The hash of settings without a Secret among them is that of the spec.
	c.settled = objects.secretsKnown || !slices.ContainsFunc(refs, func(ref desired.Ref) bool {
		return ref.Use&desired.UseSetting != 0
	})
	for _, secret := range objects.of(metadata.Secret) {
		sources.Add(desired.SourcesOf(secret.GetAnnotations()))
		if version, ok := settings.VersionOf(secret); ok {
			c.inputs.Versions = append(c.inputs.Versions, desired.SettingsVersion{
				Hash: version.Hash, Content: secret.GetAnnotations()[obsv1.AnnotationContent],
			})
		}
	}
	c.inputs.Values = map[desired.KeyRef]desired.Value{}
	for _, ref := range refs {
		value, err := c.value(ctx, ref, sources.Of(ref))
		if apierrors.IsForbidden(err) {
			c.settled = c.settled && ref.Use&desired.UseSetting == 0
			c.unknown(readError(ref.Kind()+"s", c.stack.Namespace, err).Error())
			continue
		}
		if err != nil {
			return readError(ref.Kind()+" "+ref.Name, c.stack.Namespace, err)
		}
		c.inputs.Values[ref.KeyRef] = value
	}
	return nil
}

// value of a key; that of an object that does not exist is none.
func (c *comparison) value(ctx context.Context, ref desired.Ref, source desired.Source) (desired.Value, error) {
	object := client.Object(&corev1.Secret{})
	if ref.ConfigMap {
		object = &corev1.ConfigMap{}
	}
	if err := c.api.Get(ctx, client.ObjectKey{Namespace: c.stack.Namespace, Name: ref.Name}, object); err != nil {
		return desired.Value{}, client.IgnoreNotFound(err)
	}
	return desired.NewValue(ref, object, desired.DataOf(object), source), nil
}

// discover the labels by which the cluster's only Prometheus selects, where the spec names none.
func (c *comparison) discover(ctx context.Context, effective *obsv1.ObservabilityStack) error {
	if desired.NamesLabels(effective) {
		return nil
	}
	namespace := metadata.Of(metadata.Namespace)
	err := c.api.Get(ctx, client.ObjectKey{Name: c.stack.Namespace}, namespace)
	if apierrors.IsNotFound(err) {
		return nil // What is not there yet has no labels.
	}
	cluster := judge.Cluster{Labels: namespace.Labels}
	if err == nil {
		cluster.Prometheuses, err = selection.Prometheuses(ctx, c.api, c.serves)
	}
	if !apierrors.IsForbidden(err) {
		c.inputs.Discovered = judge.Labels(effective, cluster)
		return err
	}
	if c.inputs.Discovered = c.stack.Status.Discovered; c.live == nil { // The operator wrote it down.
		c.unknown("the labels by which a Prometheus selects: you may not read Prometheuses in all namespaces; " +
			"spec.metrics.labels names them")
	}
	return nil
}

// exporterImage is that of the exporters which run, for brokers that name none.
func (c *comparison) exporterImage(objects existing) string {
	if c.image != "" {
		return c.image
	}
	for _, broker := range c.liveBrokers() {
		name, deployment := desired.ExporterName(c.stack, broker.Name), &appsv1.Deployment{}
		if broker.Image == "" && objects.get(metadata.Deployment, name, deployment) &&
			len(deployment.Spec.Template.Spec.Containers) > 0 {
			return deployment.Spec.Template.Spec.Containers[0].Image
		}
	}
	return defaultExporterImage()
}

// operator is whom the NetworkPolicies of the exporters let in beside those that the spec names.
func (c *comparison) operator(objects existing) *networkingv1.NetworkPolicyPeer {
	for _, broker := range c.liveBrokers() {
		name, policy := desired.ExporterName(c.stack, broker.Name), &networkingv1.NetworkPolicy{}
		if broker.NetworkPolicy == nil || !objects.get(metadata.NetworkPolicy, name, policy) ||
			len(policy.Spec.Ingress) == 0 {
			continue
		}
		from := policy.Spec.Ingress[0].From
		if named := len(broker.NetworkPolicy.Scraper); named > 0 && len(from) == named+1 {
			return &from[named]
		}
	}
	return nil
}

func (c *comparison) liveBrokers() []obsv1.Broker {
	if c.live == nil {
		return nil
	}
	return c.live.Spec.Brokers()
}

// existing are the objects of a stack that exist, by kind and name, and those which could not be
// listed.
type existing struct {
	objects      map[objectKey]*unstructured.Unstructured
	unlisted     map[schema.GroupKind]bool
	secretsKnown bool
}

// objectKey names an object of a stack.
type objectKey struct {
	schema.GroupKind
	namespace, name string
}

func keyOf(object client.Object) objectKey {
	return objectKey{object.GetObjectKind().GroupVersionKind().GroupKind(), object.GetNamespace(), object.GetName()}
}

// of a kind, the oldest first.
func (e existing) of(kind schema.GroupVersionKind) (found []*unstructured.Unstructured) {
	for key, object := range e.objects {
		if key.GroupKind == kind.GroupKind() {
			found = append(found, object)
		}
	}
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time),
			strings.Compare(a.GetName(), b.GetName()))
	})
	return found
}

// get reads an object into one of its type.
func (e existing) get(kind schema.GroupVersionKind, name string, into client.Object) bool {
	for _, object := range e.of(kind) {
		if object.GetName() == name {
			return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into) == nil
		}
	}
	return false
}
