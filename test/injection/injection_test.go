// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"testing"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// TestInjection shares a control plane and an operator, because starting them takes seconds.
func TestInjection(t *testing.T) {
	c := start(t)
	var err error
	if c.webhooks, err = testenv.RegisterWebhooks(c.ControlPlane); err != nil {
		t.Fatal(err)
	}
	c.injects(t)
}

// TestInjectionByPolicies is the same where the API server injects, and no webhook.
func TestInjectionByPolicies(t *testing.T) {
	c := start(t)
	testenv.NeedPolicies(t, c.Config)
	policies, err := testenv.ReadPolicies()
	if err != nil {
		t.Fatal(err)
	}
	if err := policies.Install(t.Context(), c.api); err != nil {
		t.Fatal(err)
	}
	c.injects(t)
}

// injects is what holds whoever injects.
func (c *cluster) injects(t *testing.T) {
	c.startOperator(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the operator's log:\n%s", c.operator.Tail())
		}
		if err := c.operator.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("side by side", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"a new workload needs no second rollout":         c.newWorkload,
			"a workload older than its stack is rolled once": c.olderWorkload,
			"every kind can be annotated":                    c.everyKind,
			"the Pod's word counts before the Namespace's":   c.precedence,
			"an opt-out counts before all else":              c.optOut,
			"the workload chooses containers":                c.containers,
			"the release comes from the image":               c.releaseFromImage,
			"a namespace that is not admitted gets nothing":  c.refusal,
			"nor does one that forges a stamp":               c.forgery,
			"admission by selector, and its withdrawal":      c.admission,
			"copies of the settings follow the workloads":    c.copies,
			"what may bring Pods back names its version":     c.versionLabels,
			"a removed annotation releases":                  c.annotationRemoved,
			"a deleted stack changes no workload":            c.stackDeleted,
			"a renamed stack restarts nothing by itself":     c.stackRenamed,
			"200 removed annotations release":                c.annotationsRemoved,
			"namespaces are deleted in mid-copy":             c.namespacesDeletedInMidCopy,
			"a namespace is deleted":                         c.namespaceDeleted,
			"a rotated DSN reaches every Pod":                c.rotation,
			"nothing is rolled if the owners do it":          c.manualPolicy,
			"kubectl rollout undo":                           c.rollbackBringsTheTemplate,
			"a hundred containers":                           c.hundredContainers,
			"what a container says itself wins":              c.ownVariables,
			"wrong annotations":                              c.wrongAnnotations,
			"Pods of other controllers have the label":       c.otherControllers,
			"the mirror of a static Pod is left alone":       c.mirror,
			"kubectl apply":                                  c.gitOps(c.kubectlApply()),
			// Without --force-conflicts: nobody else may own what the manifest has.
			"kubectl apply --server-side": c.gitOps(c.kubectlApply("--server-side", "--field-manager=argocd")),
			"kubectl replace":             c.gitOps(tool{deploy: c.replace}),
			"helm upgrade":                c.gitOps(tool{deploy: c.helmUpgrade}),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	// These break what the others need.
	if c.webhooks != nil {
		t.Run("the webhook is down", c.webhookDown)
		t.Run("the webhook is down during a rotation", c.webhookDownInRotation)
	}
	t.Run("the operator is down", c.operatorDown)
	t.Run("two operators by mistake", c.twoOperators)
	t.Run("20 operators are killed during a rotation", c.operatorsKilled)
}

func (c *cluster) newWorkload(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	d := deployment(namespace, "api", "shop", 2)
	testenv.Create(t, c.api, d)
	c.awaitInjected(t, stack, namespace, "api", 2)
	c.awaitWorkloads(t, stack, "1/1", 0)
	c.wantGeneration(t, d, 1)
}

func (c *cluster) olderWorkload(t *testing.T) {
	namespace := c.namespace(t)
	d := deployment(namespace, "api", "shop", 2)
	testenv.Create(t, c.api, d)
	c.awaitEvent(t, namespace, "api", obsv1.ReasonStackNotFound, "create it")
	stack := c.stack(t, namespace)
	c.awaitInjected(t, stack, namespace, "api", 2)
	c.awaitWorkloads(t, stack, "1/1", 0)
	c.wantGeneration(t, d, 2)
}
