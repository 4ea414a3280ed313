// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	intro = `obstack demo: a Kubernetes control plane on this machine, with simulated nodes, the
operator of this checkout, and an example application that it observes.
Nothing but %s is needed, and nothing is left when it ends. The first run on a machine
builds Kubernetes from its Go modules, which takes about 10 minutes on two cores and is
kept outside the checkout; later runs take less than a minute.
`
	// readyTimeout bounds the wait for the stack; on an idle machine it takes seconds.
	readyTimeout = 3 * time.Minute
	nodes        = 3
)

// demo is what the steps share.
type demo struct {
	out      io.Writer
	root     string
	cp       *testenv.ControlPlane
	api      client.Client
	operator *testenv.Operator
	// interpreter is that of the environment with the libraries of the shop in Python.
	interpreter string
	started     time.Time
	options
	step  int
	parts liveParts
}

// run is the whole demo. Whatever it started has ended when it returns.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	needed := "Go"
	if o.python {
		needed = "Go and Python"
	}
	say(out, intro, needed)
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	d := &demo{out: out, root: root, options: o, started: time.Now()}
	if o.python {
		if d.interpreter, err = d.installPython(ctx); err != nil {
			return err
		}
	}

	d.says("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and %d simulated nodes", nodes)
	d.cp, err = testenv.StartControlPlane(ctx, testenv.Options{Log: out, Nodes: nodes, Kubectl: true})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer func() {
		say(out, "\nstopping everything")
		err = errors.Join(err, d.parts.stop(), d.cp.Stop())
	}()
	if d.api, err = connect(d.cp.Config); err != nil {
		return err
	}
	if err := d.observe(ctx); err != nil {
		d.explain(err)
		return errors.Join(ctx.Err(), err)
	}
	if o.once {
		return nil
	}
	return d.stay(ctx)
}

// observe starts the operator, applies the application, waits until its stack is
// ready and shows it; then it rotates the DSN and shows the dashboards, if asked.
func (d *demo) observe(ctx context.Context) error {
	d.says("building and starting the operator, with the rights of config/rbac and no others")
	if err := d.startOperator(ctx); err != nil {
		return err
	}
	samples, what := filepath.Join("config", "samples", "shop"), "API, Celery worker and beat"
	if d.python {
		samples, what = filepath.Join("config", "samples", "shop-python"), "API and Celery worker in Python"
	}
	d.says("applying %s: an annotated %s, their Secrets, one ObservabilityStack", samples, what)
	key, err := d.apply(ctx, filepath.Join(d.root, samples))
	if err != nil {
		return err
	}
	d.says("waiting for the stack %s to become Ready", key)
	stack, err := d.waitReady(ctx, key)
	if err != nil {
		return err
	}
	say(d.out, "      Ready, %s after the start of the demo\n", time.Since(d.started).Round(time.Second))
	if err := d.report(ctx, stack); err != nil {
		return err
	}
	if d.rotate {
		if err := d.rotateDSN(ctx, stack); err != nil {
			return err
		}
	}
	if d.live {
		return d.goLive(ctx, stack)
	}
	say(d.out, "\nmake demo LIVE=1 also shows the dashboards with numbers that move, and an alert that fires.")
	return nil
}

// says prints that a step begins.
func (d *demo) says(format string, args ...any) {
	steps := 4
	if d.rotate {
		steps++
	}
	if d.live {
		steps += 3
	}
	if d.python {
		steps++
	}
	d.step++
	say(d.out, "[%d/%d] %s", d.step, steps, fmt.Sprintf(format, args...))
}

// explain shows what the operator said, because its log goes away with the rest.
func (d *demo) explain(err error) {
	if d.operator == nil || errors.Is(err, context.Canceled) || strings.Contains(err.Error(), d.operator.Tail()) {
		return
	}
	say(d.out, "\nThe end of the operator's log:\n%s", d.operator.Tail())
}

// stay waits for an interrupt, and notices if the operator ends meanwhile.
func (d *demo) stay(ctx context.Context) error {
	say(d.out, "\nAll this runs until you press Ctrl-C.")
	select {
	case <-ctx.Done():
		return nil
	case <-d.operator.Done():
		err := errors.New("the operator ended by itself")
		d.explain(err)
		return err
	}
}

// conditionOf is the condition of that type, or an empty one.
func conditionOf(stack *obsv1.ObservabilityStack, conditionType string) (status, reason, message string) {
	for _, c := range stack.Status.Conditions {
		if c.Type == conditionType {
			return string(c.Status), c.Reason, c.Message
		}
	}
	return "", "", ""
}
