// SPDX-License-Identifier: Apache-2.0

// Package faults tests the operator, as a process of its own, against what goes
// wrong in a cluster: the API server is away, the operator is killed, stacks are
// deleted while it works on them, definitions come and go.
package faults

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// binary is the operator.
var binary string

// TestFaults shares control planes, because starting one takes seconds. While one
// test waits for an API server that is away, others run on the second.
func TestFaults(t *testing.T) {
	var err error
	if binary, err = testenv.BuildOperator(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Run("bare API server", func(t *testing.T) {
		t.Parallel()
		p := start(t, testenv.Options{})
		t.Run("it goes away under load", p.apiServerAway)
		t.Run("the operator is killed again and again", p.killed)
		t.Run("the operator is asked to stop", p.gracefulStop)
		t.Run("a definition comes and goes", p.definitions)
	})
	t.Run("with garbage collection", func(t *testing.T) {
		t.Parallel()
		p := start(t, testenv.Options{ControllerManager: true})
		t.Run("stacks are deleted while being reconciled", p.deletedOneByOne)
		t.Run("stacks are deleted at once", p.deletedAtOnce)
	})
}

// plane is a control plane with a client.
type plane struct {
	*testenv.ControlPlane
	api client.Client
}

func start(t *testing.T, options testenv.Options) *plane {
	t.Helper()
	options.Log = os.Stderr
	options.CRDPaths = []string{filepath.Join("..", "crds")}
	cp, api := testenv.Start(t, options)
	return &plane{cp, api}
}

// run starts an operator that is stopped when the test ends. If that failed, the end of its log is
// shown, also of one that has ended by itself.
func (p *plane) run(t *testing.T, name string, flags ...string) *testenv.Operator {
	t.Helper()
	// Who was asked before an operator ended differs between runs.
	flags = append([]string{"--proof-interval=0", "--sentry-proof-interval=0"}, flags...)
	op, err := testenv.StartOperator(p.ControlPlane, binary, name, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, op.Tail())
		}
		if err := op.Stop(); err != nil {
			t.Error(err)
		}
	})
	return op
}

func running(op *testenv.Operator) bool {
	select {
	case <-op.Done():
		return false
	default:
		return true
	}
}

func ready(t *testing.T, op *testenv.Operator) {
	t.Helper()
	if err := op.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}
