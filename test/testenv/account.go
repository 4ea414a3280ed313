// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// OperatorAccount is the user name of the operator where config/default is installed.
const OperatorAccount = "system:serviceaccount:obstack-system:obstack-controller-manager"

// adminGroup has every right.
const adminGroup = "system:masters"

// AsOperator bounds the operator's account by config/policy, as an installation does, and
// returns a configuration that connects as it. The account has every right, so that
// what is refused, the policy refuses.
func AsOperator(ctx context.Context, admin *rest.Config) (*rest.Config, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	objects, err := Objects(filepath.Join(root, "config", "policy"))
	if err != nil {
		return nil, err
	}
	api, err := client.New(admin, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane: %w", err)
	}
	for _, object := range objects {
		if err := api.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("install the admission policy: %w", err)
		}
	}
	operator := rest.CopyConfig(admin)
	operator.Impersonate = rest.ImpersonationConfig{UserName: OperatorAccount, Groups: []string{adminGroup}}
	return operator, waitForPolicy(ctx, operator)
}

// operatorKubeconfig is a kubeconfig file that connects as the operator's account, under the
// admission policy.
func (c *ControlPlane) operatorKubeconfig() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := AsOperator(ctx, c.Config); err != nil {
		return "", err
	}
	return c.User(OperatorAccount, adminGroup)
}

// waitForPolicy waits until the API server refuses the operator what it should.
func waitForPolicy(ctx context.Context, operator *rest.Config) error {
	api, err := client.New(operator, client.Options{})
	if err != nil {
		return fmt.Errorf("connect as the operator: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, Timeout, true, func(ctx context.Context) (bool, error) {
		foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "foreign"}}
		last = api.Create(ctx, foreign, client.DryRunAll)
		return apierrors.IsForbidden(last), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the admission policy: %w; a request that it refuses: %w", err, last)
	}
	return nil
}
