// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// RouteWebhooks makes the API server reach the webhooks of an installation at a loopback
// address, still as their Service: it asks for the certificate of the Service's
// name and checks it with the authority that is registered. The cluster's network,
// which is missing, is all that this stands in for.
func RouteWebhooks(ctx context.Context, api kubernetes.Interface, service types.NamespacedName,
	configuration, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("route the webhooks: %w", err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return fmt.Errorf("route the webhooks: %w", err)
	}
	live, err := api.CoreV1().Services(service.Namespace).Get(ctx, service.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the webhooks' Service: %w", err)
	}
	live.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: host, Ports: live.Spec.Ports}
	if _, err := api.CoreV1().Services(service.Namespace).Update(ctx, live, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("change the webhooks' Service: %w", err)
	}
	// Replicas write the authority into the registration at the same time.
	return wait.ExponentialBackoffWithContext(ctx, wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Steps: 5},
		func(ctx context.Context) (bool, error) {
			err := setPort(ctx, api, configuration, int32(number))
			return err == nil, nil
		})
}

// setPort is the port of an external name's, which the API server takes from the registration.
func setPort(ctx context.Context, api kubernetes.Interface, configuration string, port int32) error {
	registered, err := api.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, configuration,
		metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the registration: %w", err)
	}
	for i := range registered.Webhooks {
		registered.Webhooks[i].ClientConfig.Service.Port = &port
	}
	if _, err := api.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(ctx, registered,
		metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("change the registration: %w", err)
	}
	return nil
}

// MountSecret keeps a folder like a volume with the Secret's data until ctx ends, as a
// kubelet does, but sooner.
func MountSecret(ctx context.Context, api kubernetes.Interface, name types.NamespacedName, dir string) error {
	var shown string
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		// The API server may be away for a while, which is no reason to stop.
		if secret, err := api.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name,
			metav1.GetOptions{}); err == nil && secret.ResourceVersion != shown {
			shown = secret.ResourceVersion
			return false, show(dir, shown, secret.Data)
		}
		return false, nil
	})
	if wait.Interrupted(err) {
		return nil // ctx ended.
	}
	return err
}

// show makes the folder hold the files: each is a link into a folder that one link
// names, so that all of them change at once.
func show(dir, version string, files map[string][]byte) error {
	current, next := filepath.Join(dir, "..data"), filepath.Join(dir, "..data_tmp")
	target := filepath.Join(dir, ".."+version)
	errs := []error{os.Mkdir(target, 0o700)}
	for name, content := range files {
		errs = append(errs, os.WriteFile(filepath.Join(target, name), content, 0o600))
	}
	before, _ := os.Readlink(current)
	errs = append(errs, os.Symlink(filepath.Base(target), next), os.Rename(next, current))
	entries, err := os.ReadDir(dir)
	errs = append(errs, err)
	var linked []string
	for _, entry := range entries {
		if name := entry.Name(); name[:2] != ".." {
			linked = append(linked, name)
		}
	}
	for _, name := range linked {
		if _, wanted := files[name]; !wanted {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	for name := range files {
		if !slices.Contains(linked, name) {
			errs = append(errs, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	if before != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, before)))
	}
	return errors.Join(errs...)
}
