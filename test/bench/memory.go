// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// readings are resident memory in bytes, of the operator that went through all
// before, and of one that was just started.
type readings struct {
	Running, Restarted int64
}

// The memory has settled when it changes by less than settledShare in settleTime;
// it is read after longestSettle in any case.
const (
	settleTime    = 5 * time.Second
	longestSettle = time.Minute
	settledShare  = 0.01
)

// memory reads the operator's resident memory when it has settled.
func (b *bench) memory(ctx context.Context) (int64, error) {
	last, err := b.op.Resident()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, longestSettle)
	defer cancel()
	err = wait.PollUntilContextCancel(ctx, settleTime, false, func(context.Context) (bool, error) {
		now, err := b.op.Resident()
		if err != nil {
			return false, err
		}
		settled := float64(max(now, last)-min(now, last)) < settledShare*float64(last)
		last = now
		return settled, nil
	})
	if wait.Interrupted(err) {
		err = nil
	}
	progress("resident memory: %d MiB", last>>20)
	return last, err
}

// restarts is how often memory is read of an operator that was just started. It depends on when its garbage was last
// collected, by a quarter.
const restarts = 3

// restarted starts the operator anew for each of some readings of its memory, which begin when it has passed over every
// stack, and returns their median.
func (b *bench) restarted(ctx context.Context) (int64, error) {
	var all []int64
	for range restarts {
		if err := b.restart(ctx, "--resync-period=10s"); err != nil {
			return 0, err
		}
		if err := b.settled(ctx, b.many); err != nil {
			return 0, err
		}
		resident, err := b.memory(ctx)
		if err != nil {
			return 0, err
		}
		all = append(all, resident)
	}
	slices.Sort(all)
	return all[restarts/2], nil
}

func (b *bench) idle(ctx context.Context) error {
	if err := b.restart(ctx); err != nil {
		return err
	}
	resident, err := b.memory(ctx)
	b.MemoryIdle = resident
	return err
}

// foreign fills the cluster with what does not concern the operator.
func (b *bench) foreign(ctx context.Context) error {
	progress("making %d foreign Deployments, Secrets and ConfigMaps each", b.options.foreign)
	if err := b.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}); err != nil {
		return fmt.Errorf("make a namespace: %w", err)
	}
	err := parallel(ctx, b.options.foreign, func(ctx context.Context, i int) error {
		for _, obj := range foreignObjects(i) {
			if err := b.api.Create(ctx, obj); err != nil {
				return fmt.Errorf("make foreign objects: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if b.MemoryForeign.Running, err = b.memory(ctx); err != nil {
		return err
	}
	b.MemoryForeign.Restarted, err = b.restarted(ctx)
	return err
}

// foreignObjects are as large as such objects commonly are.
func foreignObjects(i int) []client.Object {
	labels := map[string]string{
		"app.kubernetes.io/name": "foreign", "app.kubernetes.io/instance": fmt.Sprintf("foreign-%d", i), "app.kubernetes.io/managed-by": "Helm",
	}
	meta := metav1.ObjectMeta{
		Namespace: "foreign", Name: fmt.Sprintf("foreign-%05d", i), Labels: labels,
		Annotations: map[string]string{"meta.helm.sh/release-name": "foreign", "example.com/notes": strings.Repeat("n", 300)},
	}
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app:1"}}},
			},
		}},
		&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"password": []byte(strings.Repeat("s", 1000))}},
		&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"settings": strings.Repeat("c", 1000)}},
	}
}
