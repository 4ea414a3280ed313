// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// Prometheus asks the servers of each platform about all its stacks at once. Platforms do not wait
// for each other.
type Prometheus struct {
	// Reader of the cache.
	Reader client.Reader
	// Platform returns the name and spec of the platform of a stack; no spec if it has none.
	Platform func(context.Context, *obsv1.ObservabilityStack) (string, *obsv1.ObservabilityPlatformSpec, error)
	// Servers of a platform's Prometheus: more than one if it has shards.
	Servers func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error)
	Store   *Store
	// Python are the workloads of a stack that have the bundle for Python and run.
	Python func(context.Context, *obsv1.ObservabilityStack) ([]*corev1.ObjectReference, error)
	// Events records for the owners of workloads what the stack's conditions are not about.
	Events events.EventRecorder
	// Interval between two rounds.
	Interval time.Duration
}

const (
	// lookAtPlatforms is how soon a new platform is asked, or one that changed.
	lookAtPlatforms = 10 * time.Second
	// renamed is how long series may have another cluster's label after the platform got a new one:
	// until each stack was looked at, and Prometheus has read its configuration and scraped.
	renamed = 5 * time.Minute
	// slowest is how many intervals lie between two rounds while a server does not respond.
	slowest = 5
)

// version of a platform. A new one is asked at once, however long the old one was not to be.
type version struct {
	name       string
	generation int64
}

// Start asks until ctx ends.
func (p *Prometheus) Start(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	started, clusters := map[version]context.CancelFunc{}, map[string]string{}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		platforms := &obsv1.ObservabilityPlatformList{}
		if err := p.Reader.List(ctx, platforms, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.Log.WithName("proof").Error(err, "Could not list the ObservabilityPlatforms")
			return
		}
		there := map[version]string{{}: ""} // The stacks without a platform.
		for i := range platforms.Items {
			there[version{platforms.Items[i].Name, platforms.Items[i].Generation}] = platforms.Items[i].Spec.Cluster
		}
		for v, end := range started {
			if _, ok := there[v]; !ok {
				end()
				delete(started, v)
			}
		}
		for v, cluster := range there {
			if started[v] == nil {
				proof := &platformProof{Prometheus: p, platform: v.name}
				if before, ok := clusters[v.name]; ok && before != cluster {
					proof.anyClusterUntil = time.Now().Add(renamed)
				}
				clusters[v.name] = cluster
				var proving context.Context
				proving, started[v] = context.WithCancel(ctx)
				asking.Go(func() { proof.repeat(proving) })
			}
		}
	}, min(lookAtPlatforms, p.Interval))
	return nil
}

// platformProof asks the servers of one platform.
type platformProof struct {
	*Prometheus
	platform string
	// anyClusterUntil is how long series with the labels of any cluster count.
	anyClusterUntil time.Time
	// recorded are the faults of workloads of other namespaces, by stack.
	recorded map[types.NamespacedName]recorded
}

// repeat rounds, fewer while a server does not respond.
func (p *platformProof) repeat(ctx context.Context) {
	failures := 0
	for again := true; again; again = sleep(ctx, pauseOf(p.Interval*time.Duration(min(failures+1, slowest)))) {
		failures++
		if measured(ctx, SourcePrometheus, func() error { return p.round(ctx) }) == nil {
			failures = 0
		}
	}
}

// round asks once.
func (p *platformProof) round(ctx context.Context) error {
	stacks, err := p.stacks(ctx)
	if err != nil {
		return err
	}
	found := &obsv1.ObservabilityPlatform{}
	if p.platform != "" {
		if err := p.Reader.Get(ctx, types.NamespacedName{Name: p.platform}, found); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	if found.Spec.Prometheus == nil {
		for _, stack := range stacks {
			p.Store.Set(ctx, stack, SourcePrometheus, nobody(stack, p.platform))
		}
		return nil
	}
	cluster := found.Spec.Cluster
	if time.Now().Before(p.anyClusterUntil) {
		cluster = ""
	}
	reading := newReading(stacks, cluster)
	if err := p.read(ctx, found, reading); err != nil {
		if ctx.Err() != nil {
			return err // The operator ends, or the platform is another.
		}
		for _, stack := range stacks {
			p.Store.Unavailable(ctx, stack, SourcePrometheus, judge.Gap{Reason: obsv1.ReasonUnreachable, Message: fmt.Sprintf(
				"Prometheus of platform %s does not say whether metrics and rules are there: %v", p.platform, err)})
		}
		return fmt.Errorf("platform %s: %w", p.platform, err)
	}
	for _, stack := range stacks {
		series, effective := *reading.series[client.ObjectKeyFromObject(stack)], desired.Effective(stack, &found.Spec)
		workloads, err := p.Python(ctx, stack)
		if err != nil {
			return err
		}
		mounted := namesOf(workloads)
		p.record(client.ObjectKeyFromObject(stack), workloads, judge.PythonElsewhere(effective, series, mounted))
		p.Store.Set(ctx, stack, SourcePrometheus, slices.Concat(judge.Scraped(effective, series),
			judge.Python(effective, series, mounted), judge.Loaded(effective, series)))
	}
	return nil
}

// read what every server says.
func (p *platformProof) read(ctx context.Context, of *obsv1.ObservabilityPlatform, reading *reading) error {
	servers, err := p.Servers(ctx, of)
	if err != nil {
		// The error can name Secrets and addresses, which are no business of the stacks.
		ctrl.Log.WithName("proof").Error(err, "Could not find out whom to ask", "platform", of.Name)
		return errPlatform
	}
	for _, server := range servers {
		if err := reading.ask(ctx, promclient.Client{URL: server.URL, HTTP: server.Client}); err != nil {
			return err
		}
	}
	return nil
}

var errPlatform = errors.New("obstack does not find out whom to ask, and the platform's conditions say why")

// stacks of the platform, or without one.
func (p *platformProof) stacks(ctx context.Context) ([]*obsv1.ObservabilityStack, error) {
	all, err := p.Store.stacks(ctx, p.Reader)
	if err != nil {
		return nil, err
	}
	var stacks []*obsv1.ObservabilityStack
	for _, stack := range all {
		name, spec, err := p.Platform(ctx, stack)
		if err != nil {
			return nil, err
		}
		if spec == nil {
			name = ""
		}
		if name == p.platform {
			stacks = append(stacks, stack)
		}
	}
	return stacks, nil
}

// nobody is what is known of a stack if there is nobody to ask.
func nobody(stack *obsv1.ObservabilityStack, platform string) []judge.Finding {
	reason, message := obsv1.ReasonNoPlatform, "the stack uses no ObservabilityPlatform that names a Prometheus to ask"
	if platform != "" {
		reason = obsv1.ReasonNoPrometheus
		message = fmt.Sprintf("spec.prometheus is not set in ObservabilityPlatform %s", platform)
	}
	findings := slices.Concat(judge.Scraped(stack, judge.Series{}), judge.Python(stack, judge.Series{}, nil),
		judge.Loaded(stack, judge.Series{}))
	for i := range findings {
		findings[i].State, findings[i].Reason, findings[i].Message = metav1.ConditionUnknown, reason, message
	}
	return findings
}
