// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/desired/framework"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// reading is what the servers of one platform say, by stack. What they say of others is dropped as
// it arrives.
type reading struct {
	series map[types.NamespacedName]*judge.Series
	// groups are the stacks by the names of their groups of rules.
	groups map[string]types.NamespacedName
	// matchers of all series of stacks; cluster is the one that their rules' labels have, too.
	matchers, cluster string
	// Whether any stack has monitors, monitors with a limit, processes in Python, SLOs or rules.
	monitors, limits, python, slos, rules bool
}

func newReading(stacks []*obsv1.ObservabilityStack, cluster string) *reading {
	r := &reading{
		series:   make(map[types.NamespacedName]*judge.Series, len(stacks)),
		groups:   map[string]types.NamespacedName{},
		matchers: fmt.Sprintf(`%s!=""`, obsv1.SeriesStack),
	}
	if cluster != "" {
		r.cluster = fmt.Sprintf(`,%s=%q`, obsv1.SeriesCluster, cluster)
		r.matchers += r.cluster
	}
	for _, stack := range stacks {
		r.expect(stack)
		r.python = r.python || stack.Spec.Python.MetricsPort() > 0
		r.slos = r.slos || len(stack.Spec.SLOs) > 0
		r.rules = r.rules || r.slos || stack.Spec.Alerts != nil
		for _, monitor := range stack.Spec.Monitors() {
			r.monitors, r.limits = true, r.limits || monitor.SampleLimit != nil
		}
	}
	return r
}

// Ask servers once what they know of one stack, whose series have the label cluster if it is set.
func Ask(ctx context.Context, stack *obsv1.ObservabilityStack, cluster string,
	servers ...promclient.Client) (judge.Series, error) {
	r := newReading([]*obsv1.ObservabilityStack{stack}, cluster)
	r.matchers = fmt.Sprintf(`namespace=%q,%s=%q%s`, stack.Namespace, obsv1.SeriesStack, stack.Name, r.cluster)
	for _, server := range servers {
		if err := r.ask(ctx, server); err != nil {
			return judge.Series{}, err
		}
	}
	return *r.series[client.ObjectKeyFromObject(stack)], nil
}

// expect what servers can say of a stack, and nothing else: whoever sets labels could fill the
// memory.
func (r *reading) expect(stack *obsv1.ObservabilityStack) {
	// Until a server lists rules there is none that does.
	series := &judge.Series{
		Scrapes: map[judge.Part]judge.Scrape{}, Groups: map[string]judge.Group{}, NoRules: true, Recorded: map[string]bool{},
		Processes: map[judge.Process]int32{},
	}
	for _, part := range judge.Parts(stack) {
		switch part.Kind {
		case obsv1.PartMonitor, obsv1.PartBroker:
			series.Scrapes[part] = judge.Scrape{}
		case obsv1.PartSLO:
			series.Recorded[part.Name] = false
		}
	}
	of := client.ObjectKeyFromObject(stack)
	r.series[of] = series
	for _, group := range judge.Groups(stack) {
		r.groups[group] = of
	}
}

// ask one server. What it scrapes adds to what others do.
func (r *reading) ask(ctx context.Context, server promclient.Client) error {
	if err := r.askSeries(ctx, server); err != nil || !r.rules {
		return err
	}
	return r.askRules(ctx, server)
}

// askSeries asks for counts: a series for each part, and not for each target.
func (r *reading) askSeries(ctx context.Context, server promclient.Client) error {
	monitors := fmt.Sprintf("namespace,%s,%s", obsv1.SeriesStack, obsv1.SeriesMonitor)
	down := false
	for _, query := range []struct {
		asked bool
		expr  string
		each  func(*judge.Series, judge.Part, promclient.Sample)
	}{
		{true, fmt.Sprintf(`count_values by (%s,%s) ("up", up{%s})`, monitors, obsv1.SeriesBroker, r.matchers),
			scraped(func(scrape *judge.Scrape, sample promclient.Sample) {
				scrape.Targets = plus(scrape.Targets, sample.Value)
				if sample.Labels["up"] == "1" {
					scrape.Up = plus(scrape.Up, sample.Value)
				} else {
					down = true
				}
			})},
		{r.monitors, fmt.Sprintf(`group by (%s,__name__) ({__name__=~"%s",%s})`, monitors, frameworkNames, r.matchers),
			scraped(func(scrape *judge.Scrape, sample promclient.Sample) {
				found, known := frameworkOf[sample.Labels["__name__"]]
				if known && !slices.Contains(scrape.Frameworks, found) {
					scrape.Frameworks = append(scrape.Frameworks, found)
					slices.Sort(scrape.Frameworks)
				}
			})},
		{r.limits, fmt.Sprintf(`max by (%s) (scrape_samples_post_metric_relabeling{%s})`, monitors, r.matchers),
			scraped(func(scrape *judge.Scrape, sample promclient.Sample) {
				scrape.Samples = max(scrape.Samples, sample.Value)
			})},
		{r.python, fmt.Sprintf(`sum by (%s,%s,sentry,logging,structlog,celery,metrics) (obstack_python_info{%s})`, monitors,
			obsv1.SeriesWorkload, r.matchers), addProcesses},
		{r.slos, fmt.Sprintf(`group by (namespace,%s,%s) (%s{%s})`, obsv1.SeriesStack, obsv1.SeriesSLO,
			desired.RecordEvents, r.matchers),
			func(s *judge.Series, _ judge.Part, sample promclient.Sample) {
				if _, expected := s.Recorded[sample.Labels[obsv1.SeriesSLO]]; expected {
					s.Recorded[sample.Labels[obsv1.SeriesSLO]] = true
				}
			}},
	} {
		if !query.asked {
			continue
		}
		err := server.Query(ctx, query.expr, func(sample promclient.Sample) {
			if series, part := r.find(sample.Labels); series != nil {
				query.each(series, part, sample)
			}
		})
		if err != nil {
			return err
		}
	}
	if down {
		r.askTargets(ctx, server)
	}
	return nil
}

// scraped changes what is known of the targets of a part, if it is expected.
func scraped(
	change func(*judge.Scrape, promclient.Sample),
) func(*judge.Series, judge.Part, promclient.Sample) {
	return func(series *judge.Series, part judge.Part, sample promclient.Sample) {
		if scrape, expected := series.Scrapes[part]; expected {
			change(&scrape, sample)
			series.Scrapes[part] = scrape
		}
	}
}

// maxProcesses bounds how many kinds of processes of a stack are kept: whoever serves metrics may
// say anything of itself.
const maxProcesses = 2000

// addProcesses adds processes that say of themselves what the bundle for Python says.
func addProcesses(series *judge.Series, part judge.Part, sample promclient.Sample) {
	p := judge.Process{
		Workload: sample.Labels[obsv1.SeriesWorkload], Sentry: sample.Labels["sentry"], Logging: sample.Labels["logging"],
		Structlog: sample.Labels["structlog"], Celery: sample.Labels["celery"], Metrics: sample.Labels["metrics"],
	}
	for _, state := range []string{p.Sentry, p.Logging, p.Structlog, p.Celery, p.Metrics} {
		if !slices.Contains(judge.PythonStates, state) {
			return
		}
	}
	_, known := series.Processes[p]
	of := part.Name == obsv1.MonitorPython && workloadName.MatchString(p.Workload)
	if of && (known || len(series.Processes) < maxProcesses) {
		series.Processes[p] = plus(series.Processes[p], sample.Value)
	}
}

// workloadName is NAMESPACE/NAME, as the PodMonitor sets it.
var workloadName = regexp.MustCompile(`^[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}$`)

// plus adds what a server says is a count.
func plus(count int32, value float64) int32 {
	if math.IsNaN(value) || value < 0 {
		return count
	}
	return int32(min(float64(count)+value, math.MaxInt32))
}

// find the stack and part that a series or target is about.
func (r *reading) find(labels map[string]string) (*judge.Series, judge.Part) {
	part := judge.Part{Kind: obsv1.PartMonitor, Name: labels[obsv1.SeriesMonitor]}
	if part.Name == "" {
		part = judge.Part{Kind: obsv1.PartBroker, Name: labels[obsv1.SeriesBroker]}
	}
	return r.series[types.NamespacedName{Namespace: labels["namespace"], Name: labels[obsv1.SeriesStack]}], part
}

// askTargets finds out why targets are down. A server that does not list targets leaves it open.
func (r *reading) askTargets(ctx context.Context, server promclient.Client) {
	_ = server.Targets(ctx, func(target promclient.Target) {
		series, part := r.find(target.Labels)
		if target.Up || series == nil || !ofStack(target) {
			return
		}
		if scrape, ok := series.Scrapes[part]; ok && (scrape.Fault == "" || target.Fault < scrape.Fault) {
			scrape.Fault = target.Fault // The first by the alphabet, so that it does not alternate.
			series.Scrapes[part] = scrape
		}
	})
}

// ofStack reports whether a target is of a ServiceMonitor of the stack that its labels name:
// anybody can set labels.
func ofStack(target promclient.Target) bool {
	monitor, ok := strings.CutPrefix(target.Pool, "serviceMonitor/")
	return !ok || strings.HasPrefix(monitor, target.Labels["namespace"]+"/"+target.Labels[obsv1.SeriesStack]+"-")
}

// askRules finds the groups of rules of the stacks.
func (r *reading) askRules(ctx context.Context, server promclient.Client) error {
	listed := false
	var selectors []string
	for _, subject := range []string{obsv1.SeriesMonitor, obsv1.SeriesBroker} {
		selectors = append(selectors, fmt.Sprintf(`{%s!=""%s}`, subject, r.cluster))
	}
	err := server.Rules(ctx, selectors, func(group promclient.Group) {
		series := r.findGroup(group)
		if series == nil {
			return
		}
		listed = true
		found, ok := series.Groups[group.Name]
		if !ok {
			found.Evaluated = true
		}
		found.Evaluated = found.Evaluated && group.Evaluated
		found.Failing = cmp.Or(found.Failing, group.Failing)
		found.Fault = cmp.Or(found.Fault, group.Fault)
		series.Groups[group.Name] = found
	})
	if err == nil && !listed {
		listed, err = server.IsPrometheus(ctx)
	}
	if err != nil && !errors.Is(err, promclient.NotServed) {
		return err
	}
	if listed {
		for _, series := range r.series {
			series.NoRules = false
		}
	}
	return nil
}

// findGroup finds the stack that a group of rules belongs to.
func (r *reading) findGroup(group promclient.Group) *judge.Series {
	of, expected := r.groups[group.Name]
	if !expected || operatorFile.MatchString(group.File) &&
		!strings.HasPrefix(path.Base(group.File), of.Namespace+"-"+of.Name+"-") {
		return nil // Anybody can name a group so.
	}
	return r.series[of]
}

// operatorFile is where prometheus-operator writes a PrometheusRule: NAMESPACE-NAME-UID.yaml.
var operatorFile = regexp.MustCompile(`-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.yaml$`)

// frameworkOf are the frameworks by a metric that only they have, and which has few series.
var frameworkOf, frameworkNames = func() (map[string]obsv1.Framework, string) {
	of := map[string]obsv1.Framework{}
	var names []string
	for name, f := range framework.Table {
		of[f.Duration+"_count"] = name
		names = append(names, f.Duration+"_count")
	}
	slices.Sort(names)
	return of, strings.Join(names, "|")
}()
