// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// The kinds of children: those that every cluster serves, and those that come with
// other operators, by the names of their CustomResourceDefinitions.
var (
	builtinKinds = []schema.GroupVersionKind{
		metadata.Secret, metadata.ConfigMap, metadata.Service, metadata.Deployment, metadata.NetworkPolicy,
	}
	optionalKinds = map[string]schema.GroupVersionKind{
		"servicemonitors.monitoring.coreos.com":     desired.ServiceMonitorKind,
		"podmonitors.monitoring.coreos.com":         desired.PodMonitorKind,
		"prometheusrules.monitoring.coreos.com":     desired.PrometheusRuleKind,
		"grafanadashboards.grafana.integreatly.org": desired.GrafanaDashboardKind,
	}
)

// NewKinds knows the kinds of children, the optional ones as not served yet.
func NewKinds() *capabilities.Kinds {
	return &capabilities.Kinds{Builtin: builtinKinds, Optional: optionalKinds}
}

// cachedChild is an empty child as its kind is cached: of a Deployment the status
// counts as well, of all else metadata.
func cachedChild(kind schema.GroupVersionKind) client.Object {
	if kind == metadata.Deployment {
		return &appsv1.Deployment{}
	}
	return metadata.Of(kind)
}

// Cached is what the manager's cache keeps of stacks, in full, and of what a pass
// reads beside the children.
func Cached() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&obsv1.ObservabilityStack{}:    {Label: labels.Everything()},
		&obsv1.ObservabilityPlatform{}: {Label: labels.Everything()},
		// What a stack refers to is unmanaged, so it cannot be chosen by label.
		&corev1.Secret{}:     {Label: labels.Everything(), Transform: keepOurs},
		&corev1.ConfigMap{}:  {Label: labels.Everything(), Transform: keepOurs},
		&appsv1.Deployment{}: {Transform: keepRollout},
	}
}

// keepOurs keeps the metadata of our own objects, and of others what shows that they changed.
func keepOurs(obj any) (any, error) {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil
	}
	if meta.GetLabels()[obsv1.LabelManagedBy] != obsv1.ManagedBy {
		return metadata.KeepName(obj)
	}
	return DropBookkeeping(obj)
}

// DropBookkeeping drops what only apply.Engine reads, once, and from the API server.
func DropBookkeeping(obj any) (any, error) {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil
	}
	meta.SetManagedFields(nil)
	annotations := meta.GetAnnotations()
	if delete(annotations, obsv1.AnnotationApplied); len(annotations) == 0 {
		meta.SetAnnotations(nil)
	}
	return obj, nil
}

// keepRollout keeps of a Deployment what shows how far it is.
func keepRollout(obj any) (any, error) {
	if d, ok := obj.(*appsv1.Deployment); ok {
		d.Spec = appsv1.DeploymentSpec{Replicas: d.Spec.Replicas}
	}
	return DropBookkeeping(obj)
}

// Indexes of the manager's cache.
func Indexes() []metadata.Index {
	indexes := []metadata.Index{
		{Of: &obsv1.ObservabilityStack{}, Field: indexRefs, Values: refNames}, settings.Index(),
	}
	for _, kind := range builtinKinds {
		indexes = append(indexes, metadata.ByController(cachedChild(kind)))
	}
	return indexes
}

// indexRefs finds stacks by the Secrets and ConfigMaps that they refer to, as KIND/NAME.
const indexRefs = "spec.refs"

func refNames(obj client.Object) []string {
	stack, ok := obj.(*obsv1.ObservabilityStack)
	if !ok {
		return nil
	}
	var names []string
	for _, ref := range desired.Refs(stack) {
		names = append(names, ref.Kind()+"/"+ref.Name)
	}
	return names
}

// CachedChildren lists children from the cache, which must have the Indexes.
func CachedChildren(reader client.Reader) apply.Children {
	return func(ctx context.Context, owner client.Object,
		kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
		list := metadata.ListOf(kind)
		opts := []client.ListOption{
			client.InNamespace(owner.GetNamespace()), client.MatchingFields{metadata.IndexController: string(owner.GetUID())},
		}
		var err error
		if kind == metadata.Deployment {
			list.Items, err = deployments(ctx, reader, opts...)
		} else {
			err = reader.List(ctx, list, opts...)
		}
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind.Kind, err)
		}
		return list.Items, nil
	}
}

// deployments lists the metadata of Deployments, which are cached with their status.
func deployments(ctx context.Context, reader client.Reader,
	opts ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	list := &appsv1.DeploymentList{}
	if err := reader.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	found := make([]metav1.PartialObjectMetadata, len(list.Items))
	for i := range list.Items {
		found[i].ObjectMeta = list.Items[i].ObjectMeta
		found[i].SetGroupVersionKind(metadata.Deployment)
	}
	return found, nil
}
