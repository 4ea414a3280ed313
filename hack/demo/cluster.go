// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const fieldOwner = client.FieldOwner("obstack-demo")

func connect(config *rest.Config) (client.Client, error) {
	api, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane: %w", err)
	}
	return api, nil
}

// startOperator builds the operator of this checkout and starts it as a process,
// with the rights that it has in a cluster, under its admission policy, and with its
// webhooks registered.
func (d *demo) startOperator(ctx context.Context) error {
	program, err := testenv.BuildOperator(ctx, filepath.Join(d.cp.Dir(), "bin"))
	if err != nil {
		return err
	}
	if err := d.grant(ctx); err != nil {
		return err
	}
	kubeconfig, err := d.cp.User(testenv.OperatorAccount)
	if err != nil {
		return err
	}
	webhooks, err := testenv.RegisterWebhooks(d.cp)
	if err != nil {
		return err
	}
	if d.operator, err = testenv.StartOperator(d.cp, program, "obstack",
		append(webhooks.Flags(), "--kubeconfig="+kubeconfig)...); err != nil {
		return err
	}
	say(d.out, "      its log: %s", d.operator.Log)
	if err := d.operator.WaitReady(ctx); err != nil {
		return fmt.Errorf("wait for the operator: %w", err)
	}
	return nil
}

// grant gives the operator the rights of config/rbac.
func (d *demo) grant(ctx context.Context) error {
	var roles []*unstructured.Unstructured
	for _, file := range []string{"role.yaml", "injection_role.yaml"} {
		objects, err := testenv.Objects(filepath.Join(d.root, "config", "rbac", file))
		if err != nil {
			return err
		}
		roles = append(roles, objects...)
	}
	for _, role := range roles {
		if role.GetKind() != "ClusterRole" {
			continue
		}
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.GetName()},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.GetName()},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: testenv.OperatorAccount}},
		}
		if err := errors.Join(d.api.Create(ctx, role), d.api.Create(ctx, binding)); err != nil {
			return fmt.Errorf("give the operator its rights: %w", err)
		}
	}
	return nil
}

// apply applies the objects of a folder, as kubectl apply -k does, and returns
// the name of the stack among them.
func (d *demo) apply(ctx context.Context, dir string) (client.ObjectKey, error) {
	objects, err := testenv.Objects(dir)
	if err != nil {
		return client.ObjectKey{}, err
	}
	key := client.ObjectKey{}
	for _, object := range objects {
		if err := d.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), fieldOwner); err != nil {
			return key, fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if object.GetKind() == "ObservabilityStack" {
			key = client.ObjectKeyFromObject(object)
		}
	}
	if key.Name == "" {
		return key, fmt.Errorf("%s: %w: no ObservabilityStack", dir, os.ErrNotExist)
	}
	return key, nil
}

// waitReady waits for the stack, and says what it waits for.
func (d *demo) waitReady(ctx context.Context, key client.ObjectKey) (*obsv1.ObservabilityStack, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	stack, said := &obsv1.ObservabilityStack{}, ""
	err := d.operator.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		if err := d.api.Get(ctx, key, stack); err != nil {
			return false, fmt.Errorf("read the stack: %w", err)
		}
		status, reason, message := conditionOf(stack, obsv1.Ready)
		if now := reason + ": " + message; status != "True" && reason != "" && now != said {
			say(d.out, "      %s", now)
			said = now
		}
		return status == "True" && stack.Status.ObservedGeneration == stack.Generation, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the stack did not become Ready within %s: %s", readyTimeout, said)
	}
	return stack, err
}
