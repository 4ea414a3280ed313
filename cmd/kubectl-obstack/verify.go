// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/platform"
)

// VerifyReport is what kubectl obstack verify prints with -o json and -o yaml.
type VerifyReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Verified reports whether every check is True.
	Verified bool `json:"verified"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
	// Rights are those that it wants, and whether you have them.
	Rights []Right `json:"rights"`
	// Checks are what was tried.
	Checks []Check `json:"checks"`
}

// Check is one thing that was tried.
type Check struct {
	// Name is what was tried, such as "monitor api".
	Name string `json:"name"`
	// State is True if it works, False if it does not, and Unknown if nobody could be asked or it did
	// not happen in time.
	State metav1.ConditionStatus `json:"state"`
	// Says is what was seen, or what to do.
	Says string `json:"says"`
	// Source is who was asked: Prometheus, exporter, Sentry, Pod, or status, which is what the
	// operator saw in its last round.
	Source string `json:"source"`
	// Seconds after the start when it became True, or was given up.
	Seconds float64 `json:"seconds"`
}

// Who was asked.
const (
	sourcePrometheus = "Prometheus"
	sourceExporter   = "exporter"
	sourceSentry     = "Sentry"
	sourcePod        = "Pod"
	sourceStatus     = "status"
)

type verifyOptions struct {
	streams           genericiooptions.IOStreams
	output            string
	timeout           time.Duration
	noPod             bool
	image             string
	operatorNamespace string
}

// shortestVerify leaves time for a Pod to start.
const shortestVerify = 10 * time.Second

func newVerify(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := verifyOptions{streams: streams}
	command := &cobra.Command{
		Use:   "verify STACK",
		Short: "Try now whether a stack works, end to end",
		Long: `Try now whether a stack works, end to end, and wait for it: its targets are scraped once more, its
rules are loaded, workers reply to the task exporter and the count of their events rises, and a test
event gets from this namespace to Sentry. The event is sent by a short-lived Pod of obstack's own
image, which takes the stack's settings as your workloads do, and which is deleted at the end and on
Ctrl-C. The event is of level debug and has an issue of its own.

What you may not ask is taken from the stack's status, after the operator's next round, and if the
operator is seen to work. The rights that it wants are printed first. For CI: the exit status is 0
if everything was seen to work within --timeout, and else 1.`,
		Example: `  kubectl obstack verify shop -n shop
  kubectl obstack verify shop -n shop --no-pod    # sends no test event
  kubectl obstack verify shop -n shop --timeout 5m -o json`,
		Args: exactlyOne("STACK", "shop: kubectl get obs -A lists all"),
		RunE: func(command *cobra.Command, args []string) error {
			if o.timeout < shortestVerify {
				return usageError{fmt.Errorf("--timeout=%s: must be at least %s", o.timeout, shortestVerify)}
			}
			printer, err := newPrinter(o.streams.Out, o.output)
			if err != nil {
				return err
			}
			return limited(command.Context(), o.timeout, func(ctx context.Context) error {
				return o.run(ctx, flags, printer, args[0])
			})
		},
		ValidArgsFunction: completeStacks(flags),
	}
	addOutput(command, &o.output, "json or yaml")
	command.Flags().DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait until everything works")
	command.Flags().BoolVar(&o.noPod, "no-pod", false, "send no test event: what the status says of Sentry counts")
	command.Flags().StringVar(&o.image, "image", "", "obstack's image for the Pod; that of what runs in the cluster "+
		"without it")
	command.Flags().StringVar(&o.operatorNamespace, "operator-namespace", usualNamespace,
		"namespace of the operator, which has its Lease and the token for Sentry")
	return command
}

func (o *verifyOptions) run(
	ctx context.Context, flags *genericclioptions.ConfigFlags, printer printer, name string,
) error {
	began := time.Now()
	api, namespace, err := connect(flags)
	if err != nil {
		return err
	}
	stacks, err := findStacks(ctx, api, namespace, name)
	if err != nil {
		return err
	}
	v := &verification{verifyOptions: *o, api: api, stack: &stacks[0], began: began}
	v.findOperator = sync.OnceValue(func() *operator { return v.readOperator(ctx) })
	if v.proxy, err = newProxy(flags); err != nil {
		return err
	}
	sources := v.prepare(ctx)
	if v.failed != nil {
		return v.failed
	}
	if o.output == "" {
		v.rightsTree().print(printer)
		fmt.Fprintln(o.streams.Out)
	}
	report := v.verify(ctx, sources)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if err := printer.show(report, []node{report.tree(o.timeout)}); err != nil {
		return err
	}
	if !report.Verified {
		return errWrong
	}
	return nil
}

// pauseBetweenLooks is short for those who wait, and long for those who are asked.
const pauseBetweenLooks = 2 * time.Second

// verification is one run of the command.
type verification struct {
	verifyOptions

	api      client.Client
	proxy    proxy
	stack    *obsv1.ObservabilityStack
	platform *obsv1.ObservabilityPlatform
	// noPlatform says why there is none.
	noPlatform error
	rights     []Right
	// failed is set if nobody says which rights the caller has.
	failed error
	began  time.Time

	// mu is for what the sources have in common.
	mu           sync.Mutex
	leader       leader
	findOperator func() *operator
}

// cannotAsk is why somebody is not asked from here, so that what the operator saw counts.
type cannotAsk string

// Error implements error.
func (c cannotAsk) Error() string { return string(c) }

// source is asked again and again about some checks, and returns whether they will not change any
// more.
type source func(context.Context) (checks []Check, final bool)

// prepare finds out whom to ask, and with which rights.
func (v *verification) prepare(ctx context.Context) []source {
	v.may(ctx, "get", leases, v.operatorNamespace, obsv1.LeaderLease,
		"what the operator saw does not count; docs/reference/kubectl/verify.md has a Role to bind")
	v.findPlatform(ctx)
	sources := []source{v.ready()}
	sources = append(sources, v.metrics(ctx)...)
	sources = append(sources, v.workers(ctx)...)
	return append(sources, v.events(ctx)...)
}

// findPlatform reads the one behind the stack.
func (v *verification) findPlatform(ctx context.Context) {
	name := cmp.Or(v.stack.Spec.Platform, obsv1.DefaultPlatform)
	if !v.may(ctx, "get", "observabilityplatforms.obstack.dev", "", name, "what the operator saw counts") {
		v.noPlatform = cannotAsk("you may not get ObservabilityPlatforms")
		return
	}
	found, err := platform.Resolver{Reader: v.api}.For(ctx, v.stack)
	switch {
	case err != nil:
		v.noPlatform = fmt.Errorf("read the ObservabilityPlatform of the stack: %w", err)
	case found.Spec == nil:
		v.noPlatform = cannotAsk("the stack has no ObservabilityPlatform")
	default:
		v.platform = &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: found.Name}, Spec: *found.Spec}
	}
}

// verify asks all sources until each says that all is well, or the time is over.
func (v *verification) verify(ctx context.Context, sources []source) VerifyReport {
	found := make([][]Check, len(sources))
	var asking sync.WaitGroup
	for i := range sources {
		asking.Go(func() { found[i] = v.follow(ctx, sources[i]) })
	}
	asking.Wait()
	report := VerifyReport{
		Namespace: v.stack.Namespace, Name: v.stack.Name, Seconds: v.seconds(), Rights: v.rights,
		Checks: slices.Concat(found...),
	}
	report.Verified = !slices.ContainsFunc(report.Checks, notTrue)
	return report
}

func notTrue(c Check) bool { return c.State != metav1.ConditionTrue }

// seconds since the start, of which a tenth is the smallest part.
func (v *verification) seconds() float64 {
	return time.Since(v.began).Round(100 * time.Millisecond).Seconds()
}

// follow one source. What is cut off by the end of the time is no finding.
func (v *verification) follow(ctx context.Context, s source) (last []Check) {
	passed := map[string]float64{}
	for {
		checks, final := s(ctx)
		if ctx.Err() != nil && !final && last != nil {
			return last
		}
		last = checks
		for i := range last {
			last[i].took(passed, v.seconds())
		}
		if final || !slices.ContainsFunc(checks, notTrue) {
			return last
		}
		if !pause(ctx, pauseBetweenLooks) {
			return last
		}
	}
}

// took notes how long a check took: until it passed, if it did.
func (c *Check) took(passed map[string]float64, now float64) {
	c.Seconds = now
	if c.State != metav1.ConditionTrue {
		return
	}
	if at, before := passed[c.Name]; before {
		c.Seconds = at
	}
	passed[c.Name] = c.Seconds
}

func (r *VerifyReport) tree(timeout time.Duration) node {
	root := node{
		text:  fmt.Sprintf("Stack %s/%s: verified in %.1f s", r.Namespace, r.Name, r.Seconds),
		state: metav1.ConditionTrue,
	}
	if !r.Verified {
		root.state = metav1.ConditionFalse
		root.text = fmt.Sprintf("Stack %s/%s: not verified within %s", r.Namespace, r.Name, timeout)
	}
	for _, check := range r.Checks {
		step := Step{Name: check.Name, State: check.State, Says: check.Says}
		if check.State == metav1.ConditionTrue {
			step.Says += fmt.Sprintf(" (%.1f s)", check.Seconds)
		}
		root.branches = append(root.branches, step.tree())
	}
	return root
}
