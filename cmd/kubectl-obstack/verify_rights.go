// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Right is something that the cluster allows you, or does not.
type Right struct {
	// Verb, such as get.
	Verb string `json:"verb"`
	// Resource, with its subresource and API group, such as services/proxy.
	Resource string `json:"resource"`
	// Namespace and Name of the object; without a name all of them are meant.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Allowed   bool   `json:"allowed"`
	// Without says what is done without it.
	Without string `json:"without"`
}

// may reports whether the caller has a right, and notes it once. A resource is, as for kubectl auth
// can-i, RESOURCE/SUBRESOURCE.GROUP.
func (v *verification) may(ctx context.Context, verb, resource, namespace, name, without string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, known := range v.rights {
		if known.Verb == verb && known.Resource == resource && known.Namespace == namespace && known.Name == name {
			return known.Allowed
		}
	}
	right := Right{Verb: verb, Resource: resource, Namespace: namespace, Name: name, Without: without}
	resource, group, _ := strings.Cut(resource, ".")
	resource, subresource, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Name: name,
		},
	}}
	err := v.api.Create(ctx, review)
	if err != nil && !apierrors.IsForbidden(err) && v.failed == nil {
		v.failed = fmt.Errorf("ask which rights you have: %w", err)
	}
	// Whoever may not even ask has the right to nothing.
	right.Allowed = err == nil && review.Status.Allowed
	v.rights = append(v.rights, right)
	return right.Allowed
}

// mayNot says which right is lacking, for the check that wanted it.
func mayNot(verb, resource, namespace string) string {
	return "you may not " + verb + " " + resource + " in namespace " + namespace
}

func (v *verification) rightsTree() node {
	root := node{text: "Rights that are used:"}
	for _, right := range v.rights {
		step := Step{Name: strings.TrimSpace(right.Verb + " " + right.Resource), State: metav1.ConditionTrue, Says: "yes"}
		if right.Name != "" {
			step.Name += " " + right.Name
		}
		if right.Namespace != "" {
			step.Name += " in " + right.Namespace
		}
		if !right.Allowed {
			step.State, step.Says = metav1.ConditionUnknown, "no: "+right.Without
		}
		root.branches = append(root.branches, step.tree())
	}
	return root
}
