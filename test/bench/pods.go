// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// answerer is who answers the API server about Pods.
type answerer int

const (
	nobody     answerer = iota // no webhook is registered
	onlyAnswer                 // a webhook that has its answer ready
	obstack                    // the operator
)

// creation is what was measured of creating one kind of Pods.
type creation struct {
	What string
	// Bar is the least share of the rate without a webhook that is to be left; 0 is no bar.
	Bar  float64
	Took map[answerer][]time.Duration
	// Admission is what the API server spent on webhooks for a Pod, by its own metric, over all rounds.
	Admission map[answerer]time.Duration

	pod      *corev1.Pod
	pods     int // of a round
	injected bool
}

// Share is that of the Pods per second that one answerer leaves of those of another,
// over all rounds: in a single one, a garbage collection of the API server more or less decides.
func (c *creation) Share(of, than answerer) float64 { return c.Rate(of) / c.Rate(than) }

// Shares are those of the rounds, in order.
func (c *creation) Shares(of, than answerer) []float64 {
	var shares []float64
	for i, took := range c.Took[of] {
		shares = append(shares, c.Took[than][i].Seconds()/took.Seconds())
	}
	return shares
}

// Spent is how much more of a creation's time the API server spends on webhooks, as a
// share of what a creation takes while the other one answers.
func (c *creation) Spent(of, than answerer) float64 {
	return (c.Admission[of] - c.Admission[than]).Seconds() * c.Rate(than) / concurrency
}

// Rate is how many Pods per second were created while this one answered.
func (c *creation) Rate(by answerer) float64 {
	var total time.Duration
	for _, took := range c.Took[by] {
		total += took
	}
	return float64(c.pods*len(c.Took[by])) / total.Seconds()
}

// podBench is what the measurements of Pods share.
type podBench struct {
	*bench
	ready   *answer
	asking  answerer
	stamped *corev1.Pod
}

// podCreation compares the creation of Pods with the webhook, with one that only
// answers, and without.
func (b *bench) podCreation(ctx context.Context) (err error) {
	progress("%d rounds of %d Pods of each kind", b.podRounds, b.pods)
	stack, err := b.renewWithStack(ctx)
	if err != nil {
		return err
	}
	stamped := stampedPod(stack)
	lone := podOf(stack.Namespace, nil, nil)
	lone.OwnerReferences = nil
	delete(lone.Labels, "pod-template-hash")
	b.Creations = []*creation{
		{What: "un-annotated", Bar: barPlain, pod: podOf(stack.Namespace, nil, nil)},
		{What: "un-annotated, of no template", pod: lone},
		{What: "injected", Bar: barStamped, pod: stamped, injected: true},
	}
	for _, c := range b.Creations {
		c.pods, c.Took, c.Admission = b.pods, map[answerer][]time.Duration{}, map[answerer]time.Duration{}
	}
	ready, err := serveAnswer(b.webhooks, stamped, stack)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ready.Close()) }()
	p := &podBench{bench: b, ready: ready, asking: obstack, stamped: stamped}
	for _, c := range b.Creations {
		turns := []answerer{obstack, nobody}
		if c.injected { // Nobody would be asked about the others.
			turns = []answerer{obstack, onlyAnswer, nobody}
		}
		for range b.podRounds {
			for _, by := range turns {
				if err := p.answerBy(ctx, by); err != nil {
					return err
				}
				if err := p.create(ctx, c, by); err != nil {
					return err
				}
			}
			slices.Reverse(turns) // What comes first of a round does not always come first.
		}
		progress("%s: %.3f of the creations without the webhook, which takes %s", c.What, c.Share(obstack, nobody), c.Admission[obstack])
	}
	return nil
}

// renewWithStack replaces the API server, starts the operator there, makes a stack
// that admits every namespace, and waits for its settings.
func (b *bench) renewWithStack(ctx context.Context) (*obsv1.ObservabilityStack, error) {
	if err := b.renew(ctx); err != nil {
		return nil, err
	}
	if err := b.restart(ctx); err != nil {
		return nil, err
	}
	stacks, err := b.newStacks(ctx, 1)
	if err != nil {
		return nil, err
	}
	stack := stacks[0]
	stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}}
	if err := b.api.Create(ctx, stack); err != nil {
		return nil, fmt.Errorf("make a stack: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := b.api.Get(ctx, client.ObjectKeyFromObject(stack), stack)
		return stack.Status.ConfigHash != "", err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the settings of a stack: %w", err)
	}
	return stack, nil
}

// answerBy changes whom the API server asks, and waits until it does.
func (p *podBench) answerBy(ctx context.Context, by answerer) error {
	var errs []error
	switch {
	case by == p.asking:
		return nil
	case by == nobody:
		errs = append(errs, p.webhooks.Remove(ctx))
	case p.asking == nobody:
		errs = append(errs, p.webhooks.Restore(ctx))
	}
	switch by {
	case onlyAnswer:
		errs = append(errs, p.webhooks.PointAt(ctx, p.ready.address))
	case obstack:
		errs = append(errs, p.webhooks.Mend(ctx))
	}
	p.asking = by
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		before := p.ready.asked.Load()
		pod := p.stamped.DeepCopy()
		pod.Name = "probe"
		err := p.api.Create(ctx, pod, client.DryRunAll)
		answered := p.ready.asked.Load() > before
		return injected(pod) == (by != nobody) && answered == (by == onlyAnswer), err
	})
	if err != nil {
		return fmt.Errorf("wait for the change of the registration: %w", err)
	}
	return nil
}

func injected(pod *corev1.Pod) bool { return pod.Annotations[obsv1.MarkInjected] != "" }

// create times the creation of Pods, counts those that the webhook should have
// injected and did not, and removes them.
func (p *podBench) create(ctx context.Context, c *creation, by answerer) error {
	if err := p.rested(ctx); err != nil {
		return err
	}
	before, err := p.admission(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	marked, err := p.createAll(ctx, c.pod)
	took := time.Since(start)
	if err != nil {
		return err
	}
	after, err := p.admission(ctx)
	if err != nil {
		return err
	}
	c.Took[by] = append(c.Took[by], took)
	c.Admission[by] += (after - before) / time.Duration(p.pods*p.podRounds)
	switch {
	case by != nobody && c.injected:
		p.PodsMissed += p.pods - marked
		p.PodsInjected += p.pods
	case marked > 0:
		return fmt.Errorf("%d Pods were injected that should not be", marked)
	}
	err = p.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(c.pod.Namespace), client.GracePeriodSeconds(0))
	if err != nil {
		return fmt.Errorf("remove Pods: %w", err)
	}
	return nil
}

// createAll creates the Pods of a round, and counts those that were injected.
func (p *podBench) createAll(ctx context.Context, template *corev1.Pod) (marked int, err error) {
	var count atomic.Int64
	err = parallel(ctx, p.pods, func(ctx context.Context, i int) error {
		pod := template.DeepCopy()
		pod.Name = fmt.Sprintf("pod-%05d", i)
		if err := p.api.Create(ctx, pod); err != nil {
			return fmt.Errorf("create a Pod: %w", err)
		}
		if injected(pod) {
			count.Add(1)
		}
		return nil
	})
	return int(count.Load()), err
}

// admission is the time that the API server has spent on calling mutating webhooks,
// or on finding that it need not, when something was created.
func (b *bench) admission(ctx context.Context) (time.Duration, error) {
	body, err := b.clientset.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the API server's metrics: %w", err)
	}
	seconds := testenv.ReadSamples(string(body)).Sum("apiserver_admission_controller_admission_duration_seconds_sum",
		`name="MutatingAdmissionWebhook"`, `operation="CREATE"`, `type="admit"`)
	return time.Duration(seconds * float64(time.Second)), nil
}

// stampedPod is a Pod as it is made from a stamped template.
func stampedPod(stack *obsv1.ObservabilityStack) *corev1.Pod {
	stamp := stampOf(stack)
	return podOf(stack.Namespace, stamp.Labels(), stamp.Annotations())
}

func stampOf(stack *obsv1.ObservabilityStack) policy.Stamp {
	return policy.StampFor(policy.Claim{Stack: client.ObjectKeyFromObject(stack)}, stack.Status.ConfigHash)
}
