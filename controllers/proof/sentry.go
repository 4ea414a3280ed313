// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
)

const (
	// lookEvery is how often the Secrets with DSNs are looked at, in the cache.
	lookEvery = 10 * time.Second
	// againSoonest is how long a DSN is left alone after it was asked for, whatever happens to its
	// Secret.
	againSoonest = 30 * time.Second
	// againBroken is how soon a DSN is asked for again that does not work, or whose host does not
	// respond or may not be asked.
	againBroken = 10 * time.Minute
	// askingMost is how many DSNs are asked for at a time.
	askingMost = 64
)

// Sentry asks Sentry whether it takes what is sent to the DSNs of all stacks: a DSN that several
// use once, and each again when it changes and every now and then. It keeps of a DSN no more than a
// digest.
type Sentry struct {
	// Reader reads through the cache.
	Reader  client.Reader
	Cluster Cluster
	Store   *Store
	// Platform returns the name and spec of the platform of a stack; no spec if it has none.
	Platform func(context.Context, *obsv1.ObservabilityStack) (string, *obsv1.ObservabilityPlatformSpec, error)
	// Ingest returns the server at sentry.url of a platform, to be asked without a token; none if the
	// platform names none.
	Ingest func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error)
	// Hosts may be asked in any case.
	Hosts    []string
	Interval time.Duration

	asker  *asker
	now    func() time.Time
	stacks map[types.NamespacedName]*dsnsOfStack
	// replies are by the DSN's digest; done takes those that come.
	replies map[string]*dsnReply
	done    chan dsnReply
	asking  int
}

// dsnsOfStack is what is known of a stack's DSNs, by the names of their parts.
type dsnsOfStack struct {
	dsns map[string]*dsnState
	// reported reports whether the store has anything, and findings are what.
	reported bool
	findings []judge.Finding
}

// Start asks until the context ends.
func (s *Sentry) Start(ctx context.Context) error {
	s.init(newAsker(), time.Now)
	looks := time.NewTicker(min(lookEvery, s.Interval))
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-looks.C:
			_ = measured(ctx, SourceSentry, func() error { return s.look(ctx) }) // which logs it
		case reply := <-s.done:
			s.take(reply)
		}
	}
}

func (s *Sentry) init(asker *asker, now func() time.Time) {
	s.asker, s.now = asker, now
	s.stacks, s.replies = map[types.NamespacedName]*dsnsOfStack{}, map[string]*dsnReply{}
	s.done = make(chan dsnReply)
}

// due is a DSN that is to be asked for.
type due struct {
	*dsnState
	stack *obsv1.ObservabilityStack
	ref   desired.DSNRef
}

// look at all stacks, ask where it is due, and say what is known.
func (s *Sentry) look(ctx context.Context) error {
	stacks, err := s.Store.stacks(ctx, s.Reader)
	if err != nil {
		return err
	}
	known := map[types.NamespacedName]*dsnsOfStack{}
	var all []due
	for _, stack := range stacks {
		name := client.ObjectKeyFromObject(stack)
		known[name] = cmp.Or(s.stacks[name], &dsnsOfStack{})
		all = append(all, s.dueOf(ctx, stack, known[name])...)
	}
	s.stacks = known
	slices.SortStableFunc(all, func(a, b due) int { return a.next.Compare(b.next) })
	for _, d := range all[:min(len(all), askingMost-s.asking)] { // the others next time
		s.askFor(ctx, d)
	}
	for digest, reply := range s.replies {
		if reply.outcome != 0 && s.now().After(reply.until) {
			delete(s.replies, digest)
		}
	}
	for _, stack := range stacks {
		s.report(ctx, stack, known[client.ObjectKeyFromObject(stack)])
	}
	return nil
}

// dueOf brings up to date what is known of a stack's DSNs, and returns those to be asked for.
func (s *Sentry) dueOf(ctx context.Context, stack *obsv1.ObservabilityStack, of *dsnsOfStack) (all []due) {
	before := of.dsns
	of.dsns = map[string]*dsnState{}
	for _, ref := range desired.DSNRefs(stack) {
		part := judge.DSNPart(ref.Project)
		if of.dsns[part] != nil {
			continue // A project may be called as the default is.
		}
		secret, version := metadata.Of(metadata.Secret), ""
		if s.Reader.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: ref.Name}, secret) == nil {
			version = versionOf(secret, ref)
		}
		state := before[part]
		if state == nil {
			state = s.stateBefore(stack, part, version)
		}
		of.dsns[part] = state
		if version == "" { // The pass says what is wrong with it.
			*state = dsnState{soonest: state.soonest}
		} else if s.isDue(state, version, stack) {
			all = append(all, due{state, stack, ref})
		}
	}
	return all
}

// isDue reports whether a DSN is to be asked for: what is new in any case, else what may be read.
func (s *Sentry) isDue(state *dsnState, version string, stack *obsv1.ObservabilityStack) bool {
	now := s.now()
	changed := state.version != version || state.digest == "" && state.settings != stack.Status.ConfigHash
	return !now.Before(state.soonest) && (changed || !now.Before(state.next) && s.Cluster.Requests.Allow())
}

// stateBefore is what another process left in the status. What worked need not be asked for at
// once, for all stacks.
func (s *Sentry) stateBefore(stack *obsv1.ObservabilityStack, part, version string) *dsnState {
	state := &dsnState{outcome: judge.DSNBefore(stack, part), settings: stack.Status.ConfigHash}
	if state.outcome == judge.DSNAccepted || state.outcome == judge.DSNOff {
		state.version, state.next = version, s.now().Add(rand.N(s.Interval)) // #nosec G404 -- nobody must not guess it
	}
	return state
}

// askFor reads a DSN and asks for it, unless its reply is known.
func (s *Sentry) askFor(ctx context.Context, d due) {
	now := s.now()
	d.soonest = now.Add(againSoonest)
	secret, name := &corev1.Secret{}, client.ObjectKey{Namespace: d.stack.Namespace, Name: d.ref.Name}
	if err := s.Cluster.Live.Get(ctx, name, secret); err != nil {
		return // Again later; the pass says what is wrong with it.
	}
	text := strings.TrimSpace(string(secret.Data[d.ref.Key]))
	d.read(versionOf(secret, d.ref), text)
	d.next = now.Add(s.again(judge.DSNOff))
	dsn, valid := desired.ParseDSN(text)
	switch {
	case text == "":
		d.outcome, d.fresh = judge.DSNOff, true
		return
	case !valid:
		d.outcome = 0
		return
	}
	client, outcome := s.clientFor(ctx, d.stack, dsn)
	if client == nil {
		d.outcome, d.next = outcome, now.Add(s.again(outcome))
		return
	}
	reply := s.replies[d.digest]
	if reply == nil || reply.outcome != 0 && !now.Before(reply.until) {
		reply = &dsnReply{digest: d.digest}
		s.replies[d.digest] = reply
		s.asking++
		go func() {
			asked := dsnReply{digest: reply.digest, outcome: s.asker.ask(ctx, client, dsn)}
			select {
			case s.done <- asked:
			case <-ctx.Done():
			}
		}()
	}
	if reply.outcome != 0 {
		d.take(*reply)
	}
}

// take a reply for all stacks that have the DSN.
func (s *Sentry) take(reply dsnReply) {
	s.asking--
	reply.until = s.now().Add(s.again(reply.outcome))
	s.replies[reply.digest] = &reply
	for _, of := range s.stacks {
		for _, state := range of.dsns {
			if state.digest == reply.digest && state.outcome != judge.DSNNotAllowed {
				state.take(reply)
			}
		}
	}
}

// again is how long an outcome holds.
func (s *Sentry) again(outcome judge.DSN) time.Duration {
	interval := s.Interval
	if outcome != judge.DSNAccepted && outcome != judge.DSNOff {
		interval = min(interval, againBroken)
	}
	return wait.Jitter(interval*3/4, 1)
}

// report what is known of a stack. Each outcome was seen twice, so it counts at once.
func (s *Sentry) report(ctx context.Context, stack *obsv1.ObservabilityStack, of *dsnsOfStack) {
	outcomes, fresh := map[string]judge.DSN{}, !of.reported
	for part, state := range of.dsns {
		outcomes[part] = state.outcome
		fresh = fresh || state.fresh
		state.fresh = false
	}
	findings := judge.DSNs(stack, outcomes)
	if !fresh && slices.Equal(findings, of.findings) {
		return
	}
	of.reported, of.findings = true, findings
	for range 2 {
		s.Store.Set(ctx, stack, SourceSentry, findings)
	}
}
