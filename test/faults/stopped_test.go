// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

const (
	// graceful is how long the operator may take to end.
	graceful = 5 * time.Second
	// takeover is how long another replica may take to work. A lease that is not
	// released blocks it for 15 s.
	takeover = 10 * time.Second
)

// gracefulStop stops the leader of two replicas while it works.
func (p *plane) gracefulStop(t *testing.T) {
	namespace := p.namespace(t)
	elect := []string{"--leader-elect", "--leader-election-namespace=" + namespace}
	leader := p.run(t, "leader", elect...)
	var holder string
	testenv.Poll(t, func(ctx context.Context) string {
		var err error
		if holder, err = p.holder(ctx, namespace); err != nil || holder == "" {
			return fmt.Sprintf("nobody leads: %v", err)
		}
		return ""
	})
	standby := p.run(t, "standby", elect...)
	ready(t, leader)
	ready(t, standby)
	for i := range 20 {
		testenv.Create(t, p.api, newStack(namespace, fmt.Sprintf("stack-%d", i)))
	}

	asked := time.Now()
	if err := leader.Terminate(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-leader.Done():
	case <-time.After(graceful):
		t.Fatalf("still running %s after SIGTERM", graceful)
	}
	if leader.ExitCode() != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0; the end of the log:\n%s", leader.ExitCode(), leader.Tail())
	}
	if now, err := p.holder(t.Context(), namespace); err != nil || now == holder {
		t.Errorf("the lease is held by %q after its holder ended: %v", now, err)
	}
	testenv.PollFor(t, takeover, func(ctx context.Context) string {
		samples, err := standby.Metrics(ctx)
		if err != nil || samples.Passes() == 0 {
			return fmt.Sprintf("the other replica has made no pass: %v", err)
		}
		return ""
	})
	t.Logf("the other replica worked %s after SIGTERM", time.Since(asked).Round(100*time.Millisecond))
	p.converged(t, standby, namespace)
	p.wantChildren(t, namespace)
}

// holder is who leads.
func (p *plane) holder(ctx context.Context, namespace string) (string, error) {
	lease := &coordinationv1.Lease{}
	err := p.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "obstack.obstack.dev"}, lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", client.IgnoreNotFound(err)
	}
	return *lease.Spec.HolderIdentity, nil
}
