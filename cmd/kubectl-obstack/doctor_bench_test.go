// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// BenchmarkDoctor is how long it takes with one stack and with 1,000 more, of four objects each.
func BenchmarkDoctor(b *testing.B) {
	p := newPatient(b)
	b.Run("1 stack", p.benchmark)
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := worker; i < 1000; i += 8 {
				if err := p.crowd(b, fmt.Sprintf("stack-%d", i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wait.Wait()
	b.Run("1001 stacks", p.benchmark)
}

func (p *patient) benchmark(b *testing.B) {
	b.Setenv("KUBECONFIG", p.plane.Kubeconfig)
	for b.Loop() {
		var out, errs bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs}
		code := run(b.Context(), []string{"doctor"}, streams)
		if code != exitWrong || errs.Len() > 0 { // There is no operator.
			b.Fatalf("it ends with %d and says %s%s", code, &out, &errs)
		}
	}
}

// crowd makes a stack, with a status, two ServiceMonitors and two PrometheusRules.
func (p *patient) crowd(b *testing.B, name string) error {
	stack := stackFile(b, "healthy")
	stack.Name = name
	status := stack.Status
	if err := p.Create(b.Context(), stack); err != nil {
		return err
	}
	stack.Status = status
	stack.Status.ObservedGeneration = stack.Generation
	if err := p.Status().Update(b.Context(), stack); err != nil {
		return err
	}
	for i := range 2 {
		err := p.Create(b.Context(), &monitoringv1.ServiceMonitor{
			ObjectMeta: childOf(stack, fmt.Sprint(name, "-monitor-", i), "metrics"),
			Spec:       monitoringv1.ServiceMonitorSpec{Endpoints: []monitoringv1.Endpoint{}}})
		if err != nil {
			return err
		}
		rule := &monitoringv1.PrometheusRule{ObjectMeta: childOf(stack, fmt.Sprint(name, "-slo-", i), "slos")}
		if err := p.Create(b.Context(), rule); err != nil {
			return err
		}
	}
	return nil
}
