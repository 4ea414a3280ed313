// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Policies are those of config/injection, by which the API server injects.
type Policies struct {
	objects []unstructured.Unstructured
}

// ReadPolicies reads them from the checkout.
func ReadPolicies() (*Policies, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(root, "config", "injection", "policies.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	list := &unstructured.UnstructuredList{}
	if err := yaml.Unmarshal(content, list); err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	return &Policies{objects: list.Items}, nil
}

// Select has the policies look only at the namespaces that a label selector chooses.
func (p *Policies) Select(selector map[string]any) error {
	for i := range p.objects {
		if object := p.objects[i].Object; p.objects[i].GetKind() == "MutatingAdmissionPolicyBinding" {
			err := unstructured.SetNestedMap(object, selector, "spec", "matchResources", "namespaceSelector")
			if err != nil {
				return fmt.Errorf("select the namespaces of policy %s: %w", p.objects[i].GetName(), err)
			}
		}
	}
	return nil
}

// Install makes them on the API server, which evaluates them a little later.
func (p *Policies) Install(ctx context.Context, api client.Client) error {
	for i := range p.objects {
		if err := api.Create(ctx, p.objects[i].DeepCopy()); err != nil {
			return fmt.Errorf("install %s %s: %w", p.objects[i].GetKind(), p.objects[i].GetName(), err)
		}
	}
	return nil
}

// Remove removes what Install made.
func (p *Policies) Remove(ctx context.Context, api client.Client) error {
	for i := range p.objects {
		if err := api.Delete(ctx, p.objects[i].DeepCopy()); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove %s %s: %w", p.objects[i].GetKind(), p.objects[i].GetName(), err)
		}
	}
	return nil
}
