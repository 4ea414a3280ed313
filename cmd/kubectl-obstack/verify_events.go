// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// events are the checks of Sentry: a test event for each DSN, by a Pod of its own.
func (v *verification) events(ctx context.Context) (sources []source) {
	parts := v.parts(obsv1.PartDSN)
	if len(parts) == 0 {
		return nil
	}
	if v.noPod {
		return []source{v.fromStatus(parts, "--no-pod sends no test event")}
	}
	for _, verb := range []string{"create", "get", "delete"} {
		if !v.may(ctx, verb, "pods", v.stack.Namespace, "", "no test event: write --no-pod for the rest") {
			return []source{func(context.Context) (checks []Check, final bool) {
				for _, part := range parts {
					checks = append(checks, Check{Name: partName(part), State: metav1.ConditionUnknown, Source: sourcePod,
						Says: mayNot(verb, "Pods", v.stack.Namespace) + ", so no test event is sent: write --no-pod for the rest"})
				}
				return checks, true
			}}
		}
	}
	image, err := v.findImage(ctx)
	reader, why := v.sentryReader(ctx)
	var asked []string
	for _, ref := range desired.DSNRefs(v.stack) {
		part := judge.Part{Kind: obsv1.PartDSN, Name: judge.DSNPart(ref.Project)}
		if slices.Contains(asked, part.Name) {
			continue // A project may be called as the default is.
		}
		asked = append(asked, part.Name)
		event := testEvent{verification: v, part: part, project: ref.Project, image: image, reader: reader, why: why}
		sources = append(sources, func(ctx context.Context) ([]Check, bool) {
			if err != nil {
				return []Check{event.check(metav1.ConditionUnknown, sourcePod, err.Error())}, true
			}
			return []Check{event.try(ctx)}, true
		})
	}
	return sources
}

// testEvent is one that is sent to a DSN.
type testEvent struct {
	*verification

	// part is the DSN, and project its name in the spec; empty for the default.
	part    judge.Part
	project string
	image   runnable
	// reader reads the event back; nil if nobody can, and why.
	reader *sentryReader
	why    string
}

func (t *testEvent) check(state metav1.ConditionStatus, from, says string) Check {
	return Check{Name: partName(t.part), State: state, Source: from, Says: says}
}

// try waits for the settings, sends the event, and reads it back.
func (t *testEvent) try(ctx context.Context) Check {
	if check := t.awaitSettings(ctx); check.State != "" {
		return check
	}
	// Sentry may accept an event and drop it, but not two in a row.
	ids := []string{newEventID(), newEventID()}
	if t.reader != nil {
		ids = ids[:1]
	}
	if check := t.send(ctx, ids); check.State != metav1.ConditionTrue || t.reader == nil {
		return check
	}
	for wait := time.Second; ; wait = min(2*wait, maxWait) {
		err := t.reader.has(ctx, ids[0])
		if err == nil {
			return t.check(metav1.ConditionTrue, sourceSentry, "a test event was accepted and read back")
		}
		if !pause(ctx, wait) {
			return t.check(metav1.ConditionFalse, sourceSentry, "Sentry accepted a test event and does not show it: "+
				err.Error()+"; see the project's inbound filters and quotas")
		}
	}
}

// awaitSettings waits until a Pod can have them; a check with a state says why none is sent.
func (t *testEvent) awaitSettings(ctx context.Context) Check {
	last := "the stack has no settings yet for a Pod to send with"
	for {
		stack, err := t.now(ctx)
		switch off, old := t.off(ctx, stack); {
		case err != nil:
			last = err.Error()
		case off && old == nil:
			return t.check(metav1.ConditionTrue, sourceStatus, "Sentry is off: the DSN is empty")
		case off && ctx.Err() == nil:
			last = old.says("Sentry is off: the DSN is empty")
			if old.final {
				return t.check(metav1.ConditionUnknown, sourceStatus, last)
			}
		case off:
		case stack.Status.ConfigHash != "" && stack.Status.ObservedGeneration == stack.Generation:
			return Check{}
		}
		if !pause(ctx, pauseBetweenLooks) {
			return t.check(metav1.ConditionUnknown, sourceStatus, last)
		}
	}
}

// off reports whether the stack's status says that the DSN is empty, and why that does not count if
// it does not. A pass reads the DSNs itself; of one among several the status says it after a round.
func (t *testEvent) off(ctx context.Context, stack *obsv1.ObservabilityStack) (bool, *outdated) {
	if all := verdict(&stack.Status, obsv1.SentryReady); all != nil && all.Reason == obsv1.ReasonDisabled {
		return true, t.outdated(ctx, stack, 0)
	}
	part := partOf(stack, t.part)
	if part == nil || part.Reason != obsv1.ReasonDisabled {
		return false, nil
	}
	return true, t.outdated(ctx, stack, t.round())
}

// maxWait is the longest between two attempts to read an event back.
const maxWait = 8 * time.Second

func pause(ctx context.Context, length time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(length):
		return true
	}
}

// newEventID is one that Sentry has not seen.
func newEventID() string { return strings.ReplaceAll(string(uuid.NewUUID()), "-", "") }

// sentryReader reads events by Sentry's API.
type sentryReader struct {
	endpoint     platform.Endpoint
	organization string
}

// sentryReader is the platform's, if the caller may read its token and Sentry responds, or says why
// there is none.
func (v *verification) sentryReader(ctx context.Context) (*sentryReader, string) {
	switch {
	case v.platform == nil:
		return nil, v.noPlatform.Error()
	case v.platform.Spec.Sentry == nil || v.platform.Spec.Sentry.TokenFrom == nil:
		return nil, "the ObservabilityPlatform has no token for Sentry"
	case v.platform.Spec.Sentry.Organization == "":
		return nil, "the ObservabilityPlatform names no organization of Sentry"
	}
	spec := v.platform.Spec.Sentry
	if !v.may(ctx, "get", "secrets", v.operatorNamespace, spec.TokenFrom.SecretKeyRef.Name, "no event is read back") {
		return nil, mayNot("get", "Secrets", v.operatorNamespace)
	}
	backends := platform.Backends{Live: v.api, Secrets: v.api, Namespace: v.operatorNamespace, Now: time.Now}
	endpoints, err := backends.Sentry(ctx, v.platform)
	if err != nil {
		return nil, err.Error()
	}
	reader := &sentryReader{endpoint: endpoints[0], organization: spec.Organization}
	if err := reader.get(ctx); err != nil {
		return nil, "Sentry's API was asked from here: " + err.Error()
	}
	return reader, ""
}

// has returns nil if Sentry shows the event.
func (s *sentryReader) has(ctx context.Context, id string) error { return s.get(ctx, "eventids", id) }

// sentryTimeout bounds one question to Sentry.
const sentryTimeout = 10 * time.Second

// get something of the organization. Errors hold nothing that the server says.
func (s *sentryReader) get(ctx context.Context, path ...string) error {
	ctx, cancel := context.WithTimeout(ctx, sentryTimeout)
	defer cancel()
	// Sentry's addresses end in a slash.
	target := s.endpoint.URL.JoinPath("api/0/organizations", s.organization).JoinPath(path...).JoinPath("/")
	body, err := promclient.Get(ctx, s.endpoint.Client, target)
	switch {
	case errors.Is(err, promclient.NotServed):
		return fmt.Errorf("it is not known there (404)")
	case err != nil:
		return err
	}
	return body.Close()
}
