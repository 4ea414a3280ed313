// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// ServesPolicies reports whether an API server is new enough to inject by policies. Its version
// decides: a new one that lacks them is a defect.
func ServesPolicies(config *rest.Config) (bool, error) {
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return false, fmt.Errorf("connect to the control plane: %w", err)
	}
	info, err := api.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("ask the API server for its version: %w", err)
	}
	return version.MustParse(info.GitVersion).AtLeast(version.MustParse("1.36")), nil
}

// NeedPolicies skips a test on an API server that is too old for policies.
func NeedPolicies(t testing.TB, config *rest.Config) {
	t.Helper()
	served, err := ServesPolicies(config)
	if err != nil {
		t.Fatal(err)
	}
	if !served {
		t.Skip("SKIPPED, NOT TESTED: this API server is older than 1.36 and serves no MutatingAdmissionPolicies")
	}
}

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
