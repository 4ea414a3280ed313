// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout bounds the start of each part: on a busy machine etcd alone may take long.
const startTimeout = 90 * time.Second

// Options say what a control plane has beside etcd and kube-apiserver. The zero Options
// are a bare API server with the definitions of obstack and prometheus-operator.
type Options struct {
	// Log gets the progress of what takes long. Absent: nothing is reported.
	Log io.Writer
	// ControllerManager starts kube-controller-manager, and turns on the admission
	// of service accounts, which needs it.
	ControllerManager bool
	// Scheduler starts kube-scheduler.
	Scheduler bool
	// Nodes is the number of nodes that KWOK simulates. With any, the controller
	// manager and the scheduler are started as well: Deployments roll out.
	Nodes int
	// Kubectl provides kubectl in Assets.
	Kubectl bool
	// WithoutPrometheusOperator leaves the definitions of prometheus-operator out.
	WithoutPrometheusOperator bool
	// CRDPaths are files or folders with more definitions to install.
	CRDPaths []string
	// APIServerFlags are more flags of kube-apiserver, without the dashes.
	APIServerFlags map[string]string
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	// Config connects as an administrator, without a limit on requests.
	Config *rest.Config
	// Kubeconfig is a file that says the same.
	Kubeconfig string
	// Assets is the folder of the programs.
	Assets string
	// Environment is the envtest environment underneath.
	Environment *envtest.Environment

	guard     *guard
	processes []*Process
}

// StartControlPlane starts a control plane on free loopback ports. Whoever starts it stops it;
// should the program end without, everything is killed and removed all the same.
func StartControlPlane(ctx context.Context, options Options) (*ControlPlane, error) {
	// envtest logs by controller-runtime's logger, which prints a stack trace if nobody sets it.
	ctrl.SetLogger(logr.Discard())
	if options.Log == nil {
		options.Log = io.Discard
	}
	if options.Nodes > 0 {
		options.ControllerManager, options.Scheduler = true, true
	}
	assets, err := Assets(ctx, options.Log, options.programs()...)
	if err != nil {
		return nil, err
	}
	crds, err := options.crds(ctx)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard()
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{Assets: assets, guard: guard, Kubeconfig: guard.path("kubeconfig")}
	if err := c.start(ctx, options, crds); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (o Options) programs() []Program {
	programs := []Program{Etcd, APIServer}
	for program, wanted := range map[Program]bool{
		Kubectl: o.Kubectl, ControllerManager: o.ControllerManager, Scheduler: o.Scheduler, KWOK: o.Nodes > 0,
	} {
		if wanted {
			programs = append(programs, program)
		}
	}
	return programs
}

// crds are the files and folders with the definitions to install.
func (o Options) crds(ctx context.Context) ([]string, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	paths := append([]string{filepath.Join(root, "config", "crd", "bases")}, o.CRDPaths...)
	if o.WithoutPrometheusOperator {
		return paths, nil
	}
	dir, err := PrometheusOperatorCRDs(ctx, o.Log)
	return append(paths, dir), err
}

func (c *ControlPlane) start(ctx context.Context, options Options, crds []string) error {
	if err := c.startEnvironment(options, crds); err != nil {
		return err
	}
	if err := os.WriteFile(c.Kubeconfig, c.Environment.KubeConfig, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if options.ControllerManager {
		if err := c.startControllerManager(ctx); err != nil {
			return err
		}
	}
	if options.Scheduler {
		if err := c.startScheduler(); err != nil {
			return err
		}
	}
	if options.Nodes > 0 {
		return c.startNodes(ctx, options.Nodes)
	}
	return nil
}

// Dir is a folder that Stop removes with all that is in it. Among that is logs/,
// with a log of each process.
func (c *ControlPlane) Dir() string { return c.guard.dir }

// Stop stops everything and removes what was written.
func (c *ControlPlane) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.end())
	}
	c.processes = nil
	if c.Environment != nil {
		// Not bounded by a context: what has been started is stopped in any case.
		errs = append(errs, c.StopAPIServer(context.Background()), c.stopEnvironment())
	}
	return errors.Join(append(errs, c.guard.release())...)
}
