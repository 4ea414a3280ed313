// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// leases are what an operator at work is known by.
const leases = "leases.coordination.k8s.io"

// leader is what was seen of the operator's Lease since the start. It is renewed every two seconds.
type leader struct {
	holder string
	// renewed is what the Lease says.
	renewed time.Time
	// first and last are when it was seen to be renewed, by the clock here: the cluster's may differ.
	first, last time.Time
}

// leaseDuration is how long a Lease lasts that does not say it.
const leaseDuration = 15 * time.Second

// saw the Lease. It returns since when its holder was seen to renew it; zero if it was not, or does
// so no more.
func (l *leader) saw(lease *coordinationv1.LeaseSpec, now time.Time) time.Time {
	holder, renewed := ptr.Deref(lease.HolderIdentity, ""), ptr.Deref(lease.RenewTime, metav1.MicroTime{}).Time
	lasts := cmp.Or(time.Duration(ptr.Deref(lease.LeaseDurationSeconds, 0))*time.Second, leaseDuration)
	switch {
	case holder == "" || holder != l.holder:
		*l = leader{holder: holder, renewed: renewed}
	case !renewed.Equal(l.renewed):
		l.first, l.renewed, l.last = cmp.Or(l.first, now), renewed, now
	case now.Sub(l.last) > lasts:
		l.first = time.Time{}
	}
	return l.first
}

// leads returns since when the operator was seen to be at work, or why that is not known.
func (v *verification) leads(ctx context.Context) (time.Time, *outdated) {
	if !v.may(ctx, "get", leases, v.operatorNamespace, obsv1.LeaderLease, "") {
		return time.Time{}, &outdated{mayNot("get", "Leases", v.operatorNamespace) +
			", by which an operator at work is known", true}
	}
	lease := &coordinationv1.Lease{}
	err := v.api.Get(ctx, client.ObjectKey{Namespace: v.operatorNamespace, Name: obsv1.LeaderLease}, lease)
	switch {
	case apierrors.IsNotFound(err):
		return time.Time{}, &outdated{why: fmt.Sprintf("namespace %s has no Lease %s, by which an operator at work is "+
			"known: write --operator-namespace, or let it elect a leader (--leader-elect)", v.operatorNamespace,
			obsv1.LeaderLease)}
	case err != nil:
		return time.Time{}, &outdated{why: readError("Leases", v.operatorNamespace, err).Error()}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	since := v.leader.saw(&lease.Spec, time.Now())
	if since.IsZero() {
		return since, &outdated{why: fmt.Sprintf("the operator does not work: nobody renews Lease %s; see kubectl -n %s get "+
			"pods", obsv1.LeaderLease, v.operatorNamespace)}
	}
	return since, nil
}

// readOperator is that of --operator-namespace; nil if there is not one that may be read.
func (v *verification) readOperator(ctx context.Context) *operator {
	if !v.may(ctx, "list", "deployments.apps", v.operatorNamespace, "", "the operator is taken to have the defaults") {
		return nil
	}
	deployments := &appsv1.DeploymentList{}
	if err := v.api.List(ctx, deployments, client.InNamespace(v.operatorNamespace), installed); err != nil {
		return nil
	}
	var found *operator
	for i := range deployments.Items {
		if o, ok := operatorOf(&deployments.Items[i]); ok {
			if found != nil {
				return nil
			}
			found = &o
		}
	}
	return found
}

// round is how long the operator's next round of proofs takes to come and to be written.
func (v *verification) round() time.Duration {
	interval := time.Minute // by default
	if o := v.findOperator(); o != nil {
		// With 0 it makes none, and the status says so at once.
		if set, err := time.ParseDuration(o.flags["proof-interval"]); err == nil && set > 0 {
			interval = set
		}
	}
	return interval + interval/4
}
