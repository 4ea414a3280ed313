// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/hack/demo/celery"
	"obstack.dev/obstack/hack/demo/shop"
	"obstack.dev/obstack/internal/browser"
	"obstack.dev/obstack/test/testenv"
)

const standIns = `
      Real are Prometheus, the task exporter, and what the operator made: relabelings, rules, dashboards.
      Instead of FastAPI: %d servers in Go with its metrics, for the Pods of %s; every fifth order fails.
      Instead of Celery and Redis: %d workers and a broker in Go, which say on the wire what those say.
      Instead of service discovery: a list of targets, scraped every %s, so that you need not wait.
`

// liveParts are what LIVE=1 starts beside the control plane.
type liveParts struct {
	servers []*shop.Server
	celery  *celery.Application
	python  *pythonShop
	// addresses are those of the shop's service.
	addresses []string
	// unload stops the load on the servers.
	unload     func() error
	prometheus *url.URL

	page *page
}

// stop ends what runs inside of this process. The others end with the control plane.
func (l *liveParts) stop() error {
	var errs []error
	if l.page != nil {
		errs = append(errs, l.page.stop())
	}
	if l.unload != nil {
		errs = append(errs, l.unload())
	}
	for _, server := range l.servers {
		errs = append(errs, server.Stop())
	}
	if l.python != nil {
		errs = append(errs, l.python.stop())
	}
	if l.celery != nil {
		errs = append(errs, l.celery.Stop())
	}
	return errors.Join(errs...)
}

// goLive starts what the stack's rules and dashboards read, and shows them at work.
func (d *demo) goLive(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	say(d.out, "")
	d.says("building Prometheus and the task exporter from their modules; Prometheus takes about 3 minutes once")
	prometheus, err := testenv.Prometheus(ctx, d.out)
	if err != nil {
		return err
	}
	exporter, err := testenv.BuildExporter(ctx, filepath.Join(d.cp.Dir(), "bin"))
	if err != nil {
		return err
	}
	d.says("starting them, and a shop that they observe")
	configs, err := d.startTargets(ctx, stack, exporter)
	if err != nil {
		return err
	}
	if err := d.startPrometheus(ctx, stack, prometheus, configs); err != nil {
		return err
	}
	if d.parts.page, err = d.startPage(ctx, stack); err != nil {
		return err
	}
	d.says("waiting for an alert, two minutes at the most; look meanwhile at\n\n      %s\n", d.parts.page.address)
	if d.open {
		browser.Open(d.parts.page.address)
	}
	if err := d.awaitAlert(ctx, stack); err != nil || !d.python {
		return err
	}
	return d.showPython(ctx, stack)
}

// startTargets starts something for every Pod that the stack's ServiceMonitors lead to, and returns
// how Prometheus finds it.
func (d *demo) startTargets(ctx context.Context, stack *obsv1.ObservabilityStack, exporter string) ([]any, error) {
	monitors := &monitoringv1.ServiceMonitorList{}
	if err := d.api.List(ctx, monitors, ofStack(stack)...); err != nil {
		return nil, fmt.Errorf("list the ServiceMonitors: %w", err)
	}
	workers, err := d.podsOf(ctx, stack.Namespace, map[string]string{"app": "shop-worker"})
	if err != nil {
		return nil, err
	}
	if d.python {
		d.parts.celery, err = celery.StartBroker()
	} else {
		d.parts.celery, err = celery.Start(ctx, workers)
	}
	if err != nil {
		return nil, err
	}
	var configs []any
	var observed []string
	for m := range monitors.Items {
		monitor := &monitors.Items[m]
		targets, err := d.discover(ctx, monitor)
		if err != nil {
			return nil, err
		}
		for i := range targets {
			if monitor.Labels[obsv1.LabelComponent] == "tasks" {
				targets[i].address, err = d.startExporter(ctx, stack, targets[i], exporter)
			} else {
				targets[i].address, err = d.startServer()
				observed = append(observed, targets[i].service)
			}
			if err != nil {
				return nil, err
			}
		}
		configs = append(configs, scrapeConfigs(monitor, targets)...)
	}
	if d.python {
		pods, err := d.startPython(ctx, stack)
		if err != nil {
			return nil, err
		}
		configs = append(configs, pods...)
	} else {
		say(d.out, strings.Trim(standIns, "\n"), len(d.parts.servers), strings.Join(slices.Compact(observed), ", "),
			len(workers), scrapeInterval)
	}
	d.startLoad(ctx)
	return configs, nil
}

// ofStack lists what the operator made for a stack.
func ofStack(stack *obsv1.ObservabilityStack) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(stack.Namespace),
		client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: stack.Name},
	}
}

// discover finds the Pods behind the Services that a ServiceMonitor selects.
func (d *demo) discover(ctx context.Context, monitor *monitoringv1.ServiceMonitor) ([]target, error) {
	services := &corev1.ServiceList{}
	if err := d.api.List(ctx, services, client.InNamespace(monitor.Namespace),
		client.MatchingLabels(monitor.Spec.Selector.MatchLabels)); err != nil {
		return nil, fmt.Errorf("list the Services of %s: %w", monitor.Name, err)
	}
	var targets []target
	for i := range services.Items {
		pods, err := d.podsOf(ctx, monitor.Namespace, services.Items[i].Spec.Selector)
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			targets = append(targets, target{service: services.Items[i].Name, pod: pod})
		}
	}
	return targets, nil
}

// podsOf are the names of the Pods with these labels that are to stay.
func (d *demo) podsOf(ctx context.Context, namespace string, labels map[string]string) ([]string, error) {
	pods := &corev1.PodList{}
	if err := d.api.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	var names []string
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			names = append(names, pods.Items[i].Name)
		}
	}
	return names, nil
}

func (d *demo) startServer() (string, error) {
	server, err := shop.Start()
	if err != nil {
		return "", err
	}
	d.parts.servers = append(d.parts.servers, server)
	d.parts.addresses = append(d.parts.addresses, server.Address)
	return server.Address, nil
}

func (d *demo) startLoad(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- shop.Load(ctx, d.parts.addresses) }()
	d.parts.unload = func() error {
		cancel()
		return <-ended
	}
}

// startExporter starts the task exporter as the Deployment of that Service does, but for the broker
// and the address.
func (d *demo) startExporter(
	ctx context.Context, stack *obsv1.ObservabilityStack, t target, program string,
) (string, error) {
	deployment := &appsv1.Deployment{}
	if err := d.api.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: t.service}, deployment); err != nil {
		return "", fmt.Errorf("read the exporter's Deployment: %w", err)
	}
	port, err := testenv.FreePort()
	if err != nil {
		return "", err
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	args := append(slices.Clone(container.Args), "--host=127.0.0.1", fmt.Sprintf("--port=%d", port))
	cmd := exec.Command(program, args...)
	cmd.Env = os.Environ()
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
		}
	}
	cmd.Env = append(cmd.Env, "CE_BROKER_URL="+d.parts.celery.URL)
	process, err := d.cp.StartProcess(t.pod, cmd)
	if err != nil {
		return "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	return address, awaitReady(ctx, process, "http://"+address+"/ready")
}
