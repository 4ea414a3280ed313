// SPDX-License-Identifier: Apache-2.0

// Package faults tests the operator, as a process of its own, against what goes
// wrong in a cluster: the API server is away, the operator is killed, stacks are
// deleted while it works on them, definitions come and go.
package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/controlplane"
	"obstack.dev/obstack/test/operator"
)

// patience is how long the tests wait for what takes seconds on an idle machine.
const patience = 3 * time.Minute

// binary is the operator.
var binary string

// TestFaults shares control planes, because starting one takes seconds. While one
// test waits for an API server that is away, others run on the second.
func TestFaults(t *testing.T) {
	ctrl.SetLogger(logr.Discard()) // Otherwise controller-runtime complains that nobody did.
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
	cp, err := controlplane.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, monitoringv1.AddToScheme, obsv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	api, err := client.New(cp.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
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

// poll waits until the condition holds. What it still lacks is told at the end.
func poll(t *testing.T, limit time.Duration, condition func(context.Context) (lacks string)) {
	t.Helper()
	var lacks string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		lacks = condition(ctx)
		return lacks == "", nil
	})
	if err != nil {
		t.Fatalf("after %s: %s", limit, lacks)
	}
}
