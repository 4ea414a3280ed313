// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/taskexporter/status"
)

// workers are the checks of task exporters: that they hear from workers.
func (v *verification) workers(ctx context.Context) (sources []source) {
	names := desired.ExporterNames(v.stack)
	if len(names) == 0 {
		return nil
	}
	allowed := v.may(ctx, "get", "services/proxy", v.stack.Namespace, "", "what the operator saw of workers counts")
	for i, name := range names {
		broker := &v.stack.Spec.Tasks.Brokers[i]
		if broker.Image != "" {
			continue // Another program's: whether it is scraped is all that is known of it.
		}
		if allowed {
			sources = append(sources, v.askExporter(broker, name))
		} else {
			sources = append(sources, v.workersFromStatus(broker))
		}
	}
	return sources
}

func workersOf(broker string) string { return "workers of broker " + broker }

func (v *verification) workersFromStatus(broker *obsv1.Broker) source {
	look := v.fromStatus([]judge.Part{{Kind: obsv1.PartBroker, Name: broker.Name}},
		cannotAsk(mayNot("get", "services/proxy", v.stack.Namespace)))
	return func(ctx context.Context) ([]Check, bool) {
		checks, final := look(ctx)
		checks[0].Name = workersOf(broker.Name)
		return checks, final
	}
}

// askExporter whether workers replied, and events came, after the first look.
func (v *verification) askExporter(broker *obsv1.Broker, service string) source {
	var first *status.Document
	noInspect := slices.ContainsFunc(broker.Args, func(arg string) bool { return strings.HasPrefix(arg, "--no-inspect") })
	return func(ctx context.Context) ([]Check, bool) {
		check := Check{Name: workersOf(broker.Name), State: metav1.ConditionUnknown, Source: sourceExporter}
		now, err := v.exporterStatus(ctx, service)
		if err != nil {
			check.Says = byProxy("the task exporter", err)
			return []Check{check}, false
		}
		if first == nil || now.StartedAt.After(first.StartedAt) {
			first = now // Another one, which counts anew.
		}
		// Not all: one that was killed counts as live for some minutes.
		replied := noInspect || now.RepliedAt != nil &&
			(first.RepliedAt == nil || now.RepliedAt.After(*first.RepliedAt))
		judged := judge.Exporters(v.stack, map[string]judge.Exporter{broker.Name: {Status: now}})
		at := slices.IndexFunc(judged, func(f judge.Finding) bool { return f.Name == broker.Name })
		switch {
		case judged[at].State == metav1.ConditionFalse:
			check.State, check.Says = metav1.ConditionFalse, judged[at].Message
		case !now.Counting:
			check.Says = "another task exporter is taking over"
		case now.Workers.Live == 0:
			check.State, check.Says = metav1.ConditionFalse, "no worker gives a sign of life: start one, or see whether it "+
				"uses this broker"
		case now.EventsTotal <= first.EventsTotal:
			check.Says = "no event has come from a worker since"
		case !replied:
			check.Says = "no worker has replied to the task exporter since"
		default:
			check.State = metav1.ConditionTrue
			check.Says = alive(now.Workers.Live, noInspect)
		}
		return []Check{check}, false
	}
}

// alive is how many workers gave a sign of life, and what comes from them.
func alive(workers int, noInspect bool) string {
	text := fmt.Sprintf("%d workers live", workers)
	if workers == 1 {
		text = "1 worker lives"
	}
	if noInspect {
		return text + ", and events come"
	}
	return text + ", replies and events come"
}

// exporterTimeout bounds one question to an exporter.
const exporterTimeout = 10 * time.Second

func (v *verification) exporterStatus(ctx context.Context, service string) (*status.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, exporterTimeout)
	defer cancel()
	address := v.proxy.service("http", v.stack.Namespace, service, desired.ExporterPort).JoinPath("status")
	body, err := promclient.Get(ctx, v.proxy.http, address)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	document := &status.Document{}
	if json.NewDecoder(io.LimitReader(body, status.MaxBytes)).Decode(document) != nil {
		return nil, fmt.Errorf("its response is not that of a task exporter")
	}
	return document, nil
}
