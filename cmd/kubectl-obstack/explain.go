// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// Explanation is what kubectl obstack explain prints with -o json and -o yaml.
type Explanation struct {
	// Object is KIND NAMESPACE/NAME.
	Object string `json:"object"`
	// Injected reports whether it has the settings that it should have.
	Injected bool `json:"injected"`
	// Steps are what was looked at, in the order in which obstack decides.
	Steps []Step `json:"steps"`
}

// Step is one thing that was looked at.
type Step struct {
	// Name is such as annotation, consent, stamp or mark.
	Name string `json:"name"`
	// State is True if nothing is in the way of the settings, False if this is, and Unknown if it
	// will pass or could not be seen.
	State metav1.ConditionStatus `json:"state"`
	// Says is what was found, and what to do.
	Says string `json:"says"`
	// Details are further steps.
	Details []Step `json:"details,omitempty"`
}

func newExplain(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "explain POD | KIND/NAME",
		Short: "Show why a workload or Pod has its settings, or lacks them",
		Long: `Go through what decides whether a Pod or workload gets the settings of a stack: its annotation, the
consent of the stack, the stamp on its template, the mark on its Pods, and the variables of a
container that win over the settings. The kinds are pod, deployment, statefulset, daemonset, job
and cronjob.

Pods that ended or are being deleted count for no workload.

The exit status is 0 if it has the settings that it should have, and else 1.`,
		Example: `  kubectl obstack explain deployment/shop-api -n shop
  kubectl obstack explain shop-api-7d4b9c6f5-x2x8z -o json`,
		Args: exactlyOne("POD or KIND/NAME", "deployment/shop-api"),
		RunE: func(command *cobra.Command, args []string) error {
			explain, err := explainer(args[0])
			if err != nil {
				return err
			}
			printer, err := newPrinter(streams.Out, output)
			if err != nil {
				return err
			}
			api, namespace, err := connect(flags)
			if err != nil {
				return err
			}
			explanation, err := explain(command.Context(), api, namespace)
			if err != nil {
				return err
			}
			if err := printer.show(explanation, []node{explanation.tree()}); err != nil {
				return err
			}
			if !explanation.Injected {
				return errWrong
			}
			return nil
		},
		ValidArgsFunction: completeWorkloads(flags, true),
	}
	addOutput(command, &output, "json or yaml")
	return command
}

// explainer finds what is named.
func explainer(arg string) (func(context.Context, client.Reader, string) (*Explanation, error), error) {
	kindName, name, found := strings.Cut(arg, "/")
	if !found {
		kindName, name = "pod", arg
	}
	kindName = strings.ToLower(kindName)
	if slices.Contains([]string{"pod", "pods", "po"}, kindName) {
		return func(ctx context.Context, api client.Reader, namespace string) (*Explanation, error) {
			return explainPod(ctx, api, client.ObjectKey{Namespace: namespace, Name: name})
		}, nil
	}
	if kind, ok := workloadKind(kindName); ok {
		return func(ctx context.Context, api client.Reader, namespace string) (*Explanation, error) {
			return explainWorkload(ctx, api, kind, client.ObjectKey{Namespace: namespace, Name: name})
		}, nil
	}
	return nil, usageError{fmt.Errorf("%q is no kind that takes settings: write pod, deployment, statefulset, daemonset, "+
		"job or cronjob", kindName)}
}

// subject is what both a Pod and a workload have.
type subject struct {
	api       client.Reader
	namespace *metav1.PartialObjectMetadata
	labels    map[string]string
	stack     *obsv1.ObservabilityStack
}

// about reads the Namespace, and the stack that a claim names; nil if there is none.
func about(ctx context.Context, api client.Reader, namespace string,
	claim func(*metav1.PartialObjectMetadata) policy.Claim) (subject, policy.Claim, error) {
	s := subject{api: api, namespace: metadata.Of(metadata.Namespace)}
	if err := api.Get(ctx, client.ObjectKey{Name: namespace}, s.namespace); err != nil {
		return s, policy.Claim{}, readError("Namespace "+namespace, metav1.NamespaceAll, err)
	}
	s.labels = s.namespace.Labels
	made := claim(s.namespace)
	if !made.Made() {
		return s, made, nil
	}
	stack := &obsv1.ObservabilityStack{}
	err := api.Get(ctx, made.Stack, stack)
	if client.IgnoreNotFound(err) != nil {
		return s, made, readError("ObservabilityStack "+made.Stack.Name, made.Stack.Namespace, err)
	}
	if err == nil {
		s.stack = stack
	}
	return s, made, nil
}

// claimStep is about the annotation.
func claimStep(claim policy.Claim) Step {
	switch {
	case claim.Problem != "":
		return Step{Name: "annotation", State: metav1.ConditionFalse, Says: claim.Problem}
	case !claim.Made():
		says := "it names no stack, or opts out: annotate it with " + obsv1.AnnotationStack + ": NAME"
		return Step{Name: "annotation", State: metav1.ConditionFalse, Says: says}
	}
	says := "it names stack " + claim.Stack.String()
	if claim.Inherited {
		says = "its Namespace names stack " + claim.Stack.String()
	}
	if claim.Variant.Project != "" {
		says += ", with Sentry project " + claim.Variant.Project
	}
	return Step{Name: "annotation", State: metav1.ConditionTrue, Says: says}
}

// consentStep is about the decision.
func consentStep(decision policy.Decision) Step {
	step := Step{Name: "consent", State: metav1.ConditionTrue, Says: "the stack admits the namespace"}
	switch {
	case decision.Granted && decision.Message != "":
		step.Says = decision.Message
	case decision.Granted:
	case decision.Hold:
		step.State = metav1.ConditionUnknown
		step.Says = "the stack's selector is not valid, so nobody can say: see its status"
	default:
		step.State, step.Says = metav1.ConditionFalse, decision.Reason+": "+decision.Message
	}
	return step
}

// conclude whether the settings are there.
func (e *Explanation) conclude() {
	e.Injected = !slices.ContainsFunc(e.Steps, func(s Step) bool { return s.State != metav1.ConditionTrue })
}

func (e *Explanation) tree() node {
	root := node{text: e.Object + ": has its settings", state: metav1.ConditionTrue}
	if !e.Injected {
		root.text, root.state = e.Object+": lacks settings", metav1.ConditionFalse
	}
	for _, step := range e.Steps {
		root.branches = append(root.branches, step.tree())
	}
	return root
}

// maxIndent is the width of what stands before a step, at most.
const maxIndent = 6

func (s *Step) tree() node {
	n := node{text: s.Name, state: s.State, says: s.Says}
	if line := s.Name + ": " + printable(s.Says); utf8.RuneCountInString(line) <= columns-maxIndent {
		n.text, n.says = line, ""
	}
	for i := range s.Details {
		n.branches = append(n.branches, s.Details[i].tree())
	}
	return n
}
