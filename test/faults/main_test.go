// SPDX-License-Identifier: Apache-2.0

// Package faults tests the operator, as a process of its own, against what goes
// wrong in a cluster: the API server is away, the operator is killed, stacks are
// deleted while it works on them, definitions come and go.
package faults

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/controlplane"
	"obstack.dev/obstack/test/operator"
	"obstack.dev/obstack/test/planetest"
)

// patience is how long the tests wait for what takes seconds on an idle machine.
const patience = 3 * time.Minute

// binary is the operator.
var binary string

// TestFaults shares control planes, because starting one takes seconds. While one
// test waits for an API server that is away, others run on the second.
func TestFaults(t *testing.T) {
	var err error
	if binary, err = operator.Build(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Run("bare API server", func(t *testing.T) {
		t.Parallel()
		p := start(t, controlplane.Options{})
		t.Run("it goes away under load", p.apiServerAway)
		t.Run("the operator is killed again and again", p.killed)
		t.Run("the operator is asked to stop", p.gracefulStop)
		t.Run("a definition comes and goes", p.definitions)
	})
	t.Run("with garbage collection", func(t *testing.T) {
		t.Parallel()
		p := start(t, controlplane.Options{ControllerManager: true})
		t.Run("stacks are deleted while being reconciled", p.deletedOneByOne)
		t.Run("stacks are deleted at once", p.deletedAtOnce)
	})
}

// plane is a control plane with a client.
type plane struct {
	*controlplane.ControlPlane
	api client.Client
}

func start(t *testing.T, options controlplane.Options) *plane {
	t.Helper()
	options.Log = os.Stderr
	options.CRDPaths = []string{filepath.Join("..", "crds")}
	cp, api := planetest.Start(t, options)
	return &plane{cp, api}
}

// run starts an operator that is stopped when the test ends. If that failed, the
// end of its log is shown.
func (p *plane) run(t *testing.T, name string, flags ...string) *operator.Operator {
	t.Helper()
	op, err := operator.Start(p.ControlPlane, binary, name, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if running(op) && t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, op.Tail())
		}
		if err := op.Stop(); err != nil {
			t.Error(err)
		}
	})
	return op
}

func running(op *operator.Operator) bool {
	select {
	case <-op.Done():
		return false
	default:
		return true
	}
}

func ready(t *testing.T, op *operator.Operator) {
	t.Helper()
	if err := op.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}
