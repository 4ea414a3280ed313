// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/selection"
)

// prometheusReader reads what selects, of one kind, if the cluster serves it.
func (in *installation) prometheusReader(kind schema.GroupVersionKind) func(context.Context, scopedReader) error {
	return func(ctx context.Context, api scopedReader) error {
		serves, err := api.serves(kind)
		if err != nil {
			return err
		}
		found, err := selection.Prometheuses(ctx, api, func(one schema.GroupVersionKind) bool {
			return serves && one == kind
		})
		in.lock.Lock()
		defer in.lock.Unlock()
		in.prometheuses = append(in.prometheuses, found...)
		return err
	}
}

// readNamespaces and childReader read the metadata of what is selected.
func (in *installation) readNamespaces(ctx context.Context, api scopedReader) error {
	in.namespaces = map[string]map[string]string{}
	return each(ctx, api, metadata.ListOf(metadata.Namespace), func(object client.Object) {
		in.namespaces[object.GetName()] = object.GetLabels()
	})
}

func (in *installation) childReader(kind schema.GroupVersionKind) func(context.Context, scopedReader) error {
	return func(ctx context.Context, api scopedReader) error {
		var found []*metav1.PartialObjectMetadata
		_, err := api.confined(ctx, metadata.ListOf(kind), func(object client.Object) {
			child := object.(*metav1.PartialObjectMetadata)
			child.SetGroupVersionKind(kind)
			found = append(found, child)
		}, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}, client.HasLabels{obsv1.LabelStack})
		in.lock.Lock()
		defer in.lock.Unlock()
		in.children = append(in.children, found...)
		return ignoreNoMatch(err) // A Prometheus that takes no rules comes without this kind.
	}
}
