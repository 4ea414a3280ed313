// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"slices"
	"testing"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

var mainBroker = Part{obsv1.PartBroker, "main"}

// observed is a stack with a part of each kind that a Prometheus knows of.
func observed() *obsv1.ObservabilityStack {
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
		Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{
			{Name: "api", Framework: obsv1.FrameworkFastAPI, SampleLimit: new(int64(1000))},
		}},
		Tasks:  &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main"}}},
		Alerts: &obsv1.AlertsSpec{},
		SLOs: []obsv1.SLO{
			{Name: "available", Monitor: "api", Indicator: obsv1.IndicatorAvailability},
			{Name: "fast", Monitor: "api", Indicator: obsv1.IndicatorLatency, Threshold: "500ms"},
			{Name: "done", Broker: "main", Indicator: obsv1.IndicatorTaskSuccess},
		},
	}}
	stack.Namespace, stack.Name = "shop", "shop"
	return stack
}

// healthy is what a Prometheus says if everything works.
func healthy() Series {
	return Series{
		Scrapes: map[Part]Scrape{
			api:        {Targets: 3, Up: 3, Frameworks: []obsv1.Framework{obsv1.FrameworkFastAPI}},
			mainBroker: {Targets: 1, Up: 1},
		},
		Groups: map[string]Group{
			"obstack:shop/shop:http": {Evaluated: true}, "obstack:shop/shop:tasks": {Evaluated: true},
			"obstack:shop/shop:slo:available": {Evaluated: true}, "obstack:shop/shop:slo:available:long": {Evaluated: true},
			"obstack:shop/shop:slo:fast": {Evaluated: true}, "obstack:shop/shop:slo:done": {Evaluated: true},
		},
		Recorded: map[string]bool{"available": true, "fast": true, "done": true},
	}
}

func TestSeriesAreJudged(t *testing.T) {
	apiScrape := func(change func(*Scrape)) func(*obsv1.ObservabilityStack, *Series) {
		return func(_ *obsv1.ObservabilityStack, s *Series) {
			scrape := s.Scrapes[api]
			change(&scrape)
			s.Scrapes[api] = scrape
		}
	}
	group := func(name string, g Group) func(*obsv1.ObservabilityStack, *Series) {
		return func(_ *obsv1.ObservabilityStack, s *Series) { s.Groups["obstack:shop/shop:"+name] = g }
	}
	for _, tc := range []struct {
		name   string
		change func(*obsv1.ObservabilityStack, *Series)
		// want is what is said of parts beside True Seen.
		want []string
	}{
		{"healthy", func(*obsv1.ObservabilityStack, *Series) {}, nil},
		{"some targets down", apiScrape(func(s *Scrape) { s.Up, s.Fault = 2, "timeout" }), []string{
			"api True Seen 2/3: 2 of 3 targets of monitor api are up: timeout",
		}},
		{"no target up", apiScrape(func(s *Scrape) { s.Up, s.Fault = 0, "connection refused" }), []string{
			"api False TargetDown 0/3: 0 of 3 targets of monitor api are up: connection refused",
		}},
		{"no target up, and nobody says why", apiScrape(func(s *Scrape) { s.Up = 0 }), []string{
			"api False TargetDown 0/3: 0 of 3 targets of monitor api are up: Prometheus shows why on its page of targets",
		}},
		{"no target", func(_ *obsv1.ObservabilityStack, s *Series) { delete(s.Scrapes, mainBroker) }, []string{
			"main False NotScraped 0/0: Prometheus has no target of the task exporter of broker main: see that its Service " +
				"selects Pods, and that Prometheus reads ServiceMonitors and may list Services, EndpointSlices and Pods in " +
				"this namespace",
		}},
		{"another framework", apiScrape(func(s *Scrape) { s.Frameworks = []obsv1.Framework{"django"} }), []string{
			"api False FrameworkMismatch 3/3: monitor api says framework fastapi, and its targets serve the metrics of " +
				"django: set framework: django",
		}},
		{"two frameworks", apiScrape(func(s *Scrape) { s.Frameworks = append(s.Frameworks, obsv1.FrameworkDjango) }), nil},
		{"no framework", apiScrape(func(s *Scrape) { s.Frameworks = nil }), []string{
			"api Unknown NoData 3/3: the targets of monitor api serve no series of fastapi yet: send them a request; if " +
				"nothing comes, set framework to what they use, or use what docs/reference/frameworks.md lists",
		}},
		{"scraped too rarely", func(stack *obsv1.ObservabilityStack, s *Series) {
			stack.Spec.Metrics.Monitors[0].Interval = "4m1s"
			delete(s.Scrapes, api)
		}, []string{
			"api Unknown NoData 0/0: monitor api is scraped every 4m1s, and Prometheus shows each scrape for 5m, so that " +
				"nobody can say whether it works: set interval to 4m or less",
		}},
		{"near the limit", apiScrape(func(s *Scrape) { s.Samples = 801 }), []string{
			"api True Seen 3/3: a scrape of monitor api has more than 80 % of the samples that sampleLimit allows: raise it, " +
				"or all of them are lost",
		}},
		{"far from the limit", apiScrape(func(s *Scrape) { s.Samples = 800 }), nil},
		{"no rules", func(_ *obsv1.ObservabilityStack, s *Series) {
			delete(s.Groups, "obstack:shop/shop:http")
			delete(s.Groups, "obstack:shop/shop:tasks")
			delete(s.Groups, "obstack:shop/shop:slo:fast")
		}, []string{
			"alerts False RulesNotLoaded 0/0: Prometheus has not loaded the rules of the alerts: see the log of " +
				"prometheus-operator for why it rejects them, and Prometheus' for why it does not reload",
			"fast False RulesNotLoaded 0/0: Prometheus has not loaded the rules of SLO fast: see the log of " +
				"prometheus-operator for why it rejects them, and Prometheus' for why it does not reload",
		}},
		{"alerts all disabled", func(stack *obsv1.ObservabilityStack, s *Series) {
			delete(s.Groups, "obstack:shop/shop:http")
			delete(s.Groups, "obstack:shop/shop:tasks")
			off := obsv1.RatioAlert{Disabled: true}
			stack.Spec.Tasks, stack.Spec.SLOs = nil, nil
			stack.Spec.Alerts = &obsv1.AlertsSpec{ErrorRatio: off, TargetDown: obsv1.TargetDownAlert{Disabled: true},
				Latency: obsv1.LatencyAlert{Disabled: true}}
		}, nil},
		{"an alert fails", group("tasks", Group{Failing: "ObstackQueueBacklog", Fault: "timeout"}), []string{
			"alerts False RuleFailing 0/0: Prometheus cannot evaluate rule ObstackQueueBacklog of the alerts: timeout",
		}},
		{"a rule that is not ours fails", group("slo:available:long", Group{Failing: "a secret", Fault: "x"}), []string{
			"available False RuleFailing 0/0: Prometheus cannot evaluate rule of another name of SLO available: x",
		}},
		{"not evaluated yet", group("slo:available:long", Group{}), []string{
			"available Unknown NoData 0/0: the rules of SLO available are loaded, and not evaluated yet",
		}},
		{"nobody lists rules", func(_ *obsv1.ObservabilityStack, s *Series) {
			s.NoRules, s.Groups, s.Recorded = true, nil, map[string]bool{"fast": true}
		}, []string{
			"alerts Unknown NotServed 0/0: the server that the platform names does not say which rules are evaluated",
			"available Unknown NotServed 0/0: the server that the platform names does not say which rules are evaluated",
			"done Unknown NotServed 0/0: the server that the platform names does not say which rules are evaluated",
		}},
		{"nothing recorded", func(_ *obsv1.ObservabilityStack, s *Series) { s.Recorded = nil }, []string{
			"available Unknown NoData 0/0: SLO available has no data yet: nothing that it counts has happened, or api is not " +
				"scraped",
			"fast False NoData 0/0: SLO fast has no data, though monitor api serves its framework's series: the " +
				"application's histogram has no bucket of 500ms: set threshold to one that it has",
			"done Unknown NoData 0/0: SLO done has no data yet: nothing that it counts has happened, or main is not scraped",
		}},
		{"nothing recorded of what is down", func(_ *obsv1.ObservabilityStack, s *Series) {
			delete(s.Recorded, "fast")
			s.Scrapes[api] = Scrape{Targets: 1}
		}, []string{
			"api False TargetDown 0/1: 0 of 1 targets of monitor api are up: Prometheus shows why on its page of targets",
			"fast Unknown NoData 0/0: SLO fast has no data yet: nothing that it counts has happened, or api is not scraped",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stack, series := observed(), healthy()
			tc.change(stack, &series)
			var got []string
			for _, f := range append(Scraped(stack, series), Loaded(stack, series)...) {
				if f.State != isTrue || f.Message != "" {
					got = append(got, fmt.Sprintf("%s %s %s %d/%d: %s", f.Name, f.State, f.Reason, f.Up, f.Total, f.Message))
				}
				if f.Level != obsv1.LevelSeen || len(f.Message) > maxMessage {
					t.Errorf("%v", f)
				}
			}
			if diff := fmt.Sprint(got) != fmt.Sprint(tc.want); diff {
				t.Errorf("got\n%q, want\n%q", got, tc.want)
			}
		})
	}
}

func TestEveryPartOfPrometheusIsJudged(t *testing.T) {
	stack := observed()
	stack.Spec.Python = &obsv1.PythonSpec{}
	found := map[Part]int{}
	for _, f := range slices.Concat(Scraped(stack, Series{}), Python(stack, Series{}, nil), Loaded(stack, Series{})) {
		found[f.Part]++
	}
	for _, part := range Parts(stack) {
		if found[part] != 1 {
			t.Errorf("%v is judged %d times", part, found[part])
		}
	}
}
