// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The engines, of which one adds the settings to Pods.
const (
	// EnginePolicy is the API server, by a MutatingAdmissionPolicy.
	EnginePolicy = "Policy"
	// EngineWebhook is the operator.
	EngineWebhook = "Webhook"
	// EngineNone: the policy is not there, and no webhook is served in its place.
	EngineNone = "None"
)

// engineRecheck is how long what was found is taken to be still so.
const engineRecheck = time.Minute

// Engine finds out what injects.
type Engine struct {
	// Live reads the policy, which changes with the installation alone.
	Live client.Reader
	// Policy is the name of the policy that injects Pods, and of its binding; empty if there is none.
	Policy string
	// Webhooks reports whether the operator serves them.
	Webhooks bool
	// Now is the clock.
	Now func() time.Time

	mu       sync.Mutex
	looked   time.Time
	found    string
	selector labels.Selector // of namespaces, by the policy
}

// ByPolicy reports whether the API server itself injects the Pods of a namespace with these labels.
func (e *Engine) ByPolicy(ctx context.Context, namespace map[string]string) (bool, error) {
	if err := e.look(ctx); err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.selector != nil && e.selector.Matches(labels.Set(namespace)), nil
}

// Start says again and again what injects, until ctx ends.
func (e *Engine) Start(ctx context.Context) error {
	tick := time.NewTicker(10 * engineRecheck)
	defer tick.Stop()
	for {
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			ctrl.Log.Error(err, "Could not find out what injects")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// NeedLeaderElection is false: every replica says it.
func (e *Engine) NeedLeaderElection() bool { return false }

// look for the policy, unless that was done just now.
func (e *Engine) look(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.Now(); e.found != "" && now.Sub(e.looked) < engineRecheck {
		return nil
	}
	selector, err := e.policy(ctx)
	if err != nil {
		return err
	}
	e.looked, e.selector = e.Now(), selector
	found := EngineNone
	switch {
	case selector != nil:
		found = EnginePolicy
	case e.Webhooks:
		found = EngineWebhook
	}
	if found != e.found {
		ctrl.Log.Info("Found what injects settings into Pods", "engine", found, "policy", e.Policy)
		injectionEngine.Reset()
		injectionEngine.WithLabelValues(found).Set(1)
	}
	e.found = found
	return nil
}

// policy reads which namespaces the policy and its binding are about; nil if the cluster has or
// serves none.
func (e *Engine) policy(ctx context.Context) (labels.Selector, error) {
	if e.Policy == "" {
		return nil, nil
	}
	policy, binding := &admissionv1.MutatingAdmissionPolicy{}, &admissionv1.MutatingAdmissionPolicyBinding{}
	for _, obj := range []client.Object{policy, binding} {
		if err := e.Live.Get(ctx, types.NamespacedName{Name: e.Policy}, obj); err != nil {
			if client.IgnoreNotFound(err) == nil || meta.IsNoMatchError(err) {
				return nil, nil
			}
			return nil, fmt.Errorf("read the admission policy %s: %w", e.Policy, err)
		}
	}
	selector := labels.Everything()
	for _, matched := range []*admissionv1.MatchResources{policy.Spec.MatchConstraints, binding.Spec.MatchResources} {
		if matched == nil || matched.NamespaceSelector == nil {
			continue
		}
		namespaces, err := metav1.LabelSelectorAsSelector(matched.NamespaceSelector)
		if err != nil {
			return nil, fmt.Errorf("read the namespaces of the admission policy %s: %w", e.Policy, err)
		}
		requirements, _ := namespaces.Requirements()
		selector = selector.Add(requirements...)
	}
	return selector, nil
}
