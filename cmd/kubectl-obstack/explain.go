// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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
		Short: "Show why a workload or Pod has the settings of a stack, or lacks them",
		Long: `Go through what decides whether a Pod or workload gets the settings of a stack: its annotation, the
consent of the stack, the stamp on its template, the mark on its Pods, and the variables of a
container that win over the settings. The kinds are pod, deployment, statefulset, daemonset, job
and cronjob.

The exit status is 0 if it has the settings that it should have, and else 1.`,
		Example: `  kubectl obstack explain deployment/shop-api -n shop
  kubectl obstack explain shop-api-7d4b9c6f5-x2x8z -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("one POD or KIND/NAME is to be named, such as deployment/shop-api")}
			}
			return nil
		},
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
	}
	command.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
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
	short := map[string]string{
		policy.KindDeployment: "deploy", policy.KindStatefulSet: "sts", policy.KindDaemonSet: "ds", policy.KindCronJob: "cj",
	}
	for _, kind := range policy.Kinds {
		long := strings.ToLower(kind.Kind)
		if slices.Contains([]string{long, long + "s", short[kind.Kind]}, kindName) {
			return func(ctx context.Context, api client.Reader, namespace string) (*Explanation, error) {
				return explainWorkload(ctx, api, kind, client.ObjectKey{Namespace: namespace, Name: name})
			}, nil
		}
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

// readWorkload reads of a workload what the operator does.
func readWorkload(ctx context.Context, api client.Reader, kind policy.Kind,
	name client.ObjectKey) (*policy.Workload, error) {
	whole := &unstructured.Unstructured{}
	whole.SetGroupVersionKind(kind.GroupVersionKind)
	if err := api.Get(ctx, name, whole); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("namespace %s has no %s %s", name.Namespace, kind.Kind, name.Name)
		}
		return nil, readError(kind.Kind+"s", name.Namespace, err)
	}
	object := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(whole.Object, object); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind.Kind, name, err)
	}
	return object.Partial(), nil
}

func explainWorkload(ctx context.Context, api client.Reader, kind policy.Kind,
	name client.ObjectKey) (*Explanation, error) {
	w, err := readWorkload(ctx, api, kind, name)
	if err != nil {
		return nil, err
	}
	explanation := &Explanation{Object: kind.Kind + " " + name.String()}
	s, claim, err := about(ctx, api, name.Namespace, func(namespace *metav1.PartialObjectMetadata) policy.Claim {
		return policy.ClaimOf(w, namespace)
	})
	if err != nil {
		return nil, err
	}
	explanation.Steps = append(explanation.Steps, claimStep(claim))
	if claim.Made() {
		decision := policy.DecideWorkload(w, claim, s.namespace, s.stack)
		explanation.Steps = append(explanation.Steps, consentStep(decision))
		if decision.Granted && s.stack != nil {
			want := s.stack.Status.Version(claim.Variant.Project, claim.Variant.Env)
			explanation.Steps = append(explanation.Steps, stampStep(w, want), podsStep(ctx, api, w, want))
		}
	}
	explanation.conclude()
	return explanation, nil
}

// stampStep is about the template.
func stampStep(w *policy.Workload, want string) Step {
	stamp, stamped := w.Stamp()
	step := Step{Name: "stamp", State: metav1.ConditionTrue, Says: "its template names version " + stamp.ConfigHash}
	switch {
	case want == "":
		step.State, step.Says = metav1.ConditionUnknown, "the stack has nothing to give yet: see its SettingsReady"
	case !stamped:
		step.State = metav1.ConditionUnknown
		step.Says = "its template has none yet: the stack's InjectionReady says what it waits for"
	case stamp.ConfigHash != want:
		step.State = metav1.ConditionUnknown
		step.Says += ", and the stack gives " + want + " now: the stack's InjectionReady says what that waits for"
	}
	if record := w.Annotations[obsv1.AnnotationRecord]; record != "" {
		step.Details = append(step.Details, Step{Name: "record", State: metav1.ConditionTrue, Says: record})
	}
	return step
}

// podsStep is about the Pods of a workload.
func podsStep(ctx context.Context, api client.Reader, w *policy.Workload, want string) Step {
	step := Step{Name: "pods", State: metav1.ConditionTrue}
	pods := &corev1.PodList{}
	if err := api.List(ctx, pods, client.InNamespace(w.Namespace)); err != nil {
		step.State, step.Says = metav1.ConditionUnknown, readError("Pods", w.Namespace, err).Error()
		return step
	}
	total, injected := 0, 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if owner := policy.OwnerOf(&pod.ObjectMeta); owner.Kind != w.Kind || owner.Name != w.Name {
			continue
		}
		total++
		mark := markStep(pod, want)
		if mark.State == metav1.ConditionTrue {
			injected++
		}
		mark.Name = pod.Name
		step.Details = append(step.Details, mark)
	}
	slices.SortFunc(step.Details, func(a, b Step) int { return strings.Compare(a.Name, b.Name) })
	step.Says = fmt.Sprintf("%d of %d Pods have these settings", injected, total)
	if injected < total {
		step.State = metav1.ConditionFalse
	}
	return step
}

// markStep is about what a Pod started with.
func markStep(pod *corev1.Pod, want string) Step {
	mark := pod.Annotations[obsv1.MarkInjected]
	step := Step{Name: "mark", State: metav1.ConditionTrue, Says: "it started with version " + mark}
	switch {
	case mark == "":
		step.State, step.Says = metav1.ConditionFalse, "it started without settings: restart it, and see the operator's "+
			"metrics and the stack's InjectionReady if that does not help"
	case want != "" && mark != want:
		step.State = metav1.ConditionFalse
		step.Says += ", which is not the stack's newest: it keeps what its template names until it is replaced"
	}
	return step
}

func explainPod(ctx context.Context, api client.Reader, name client.ObjectKey) (*Explanation, error) {
	pod := &corev1.Pod{}
	if err := api.Get(ctx, name, pod); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("namespace %s has no Pod %s: for a workload write KIND/NAME, such as deployment/%s",
				name.Namespace, name.Name, name.Name)
		}
		return nil, readError("Pods", name.Namespace, err)
	}
	explanation := &Explanation{Object: "Pod " + name.String()}
	s, claim, err := about(ctx, api, name.Namespace, func(namespace *metav1.PartialObjectMetadata) policy.Claim {
		return policy.PodClaim(pod, name.Namespace, namespace)
	})
	if err != nil {
		return nil, err
	}
	explanation.Steps = append(explanation.Steps, claimStep(claim))
	if claim.Made() {
		decision, stamp := policy.DecidePod(pod, claim, name.Namespace, s.labels, s.stack)
		explanation.Steps = append(explanation.Steps, consentStep(decision), markStep(pod, stamp.ConfigHash))
		if secret := settingsOf(stamp); secret != "" && pod.Annotations[obsv1.MarkInjected] != "" {
			for i := range pod.Spec.Containers {
				step := s.containerStep(ctx, pod, &pod.Spec.Containers[i], secret)
				explanation.Steps = append(explanation.Steps, step)
			}
		}
	}
	explanation.conclude()
	return explanation, nil
}

func settingsOf(stamp policy.Stamp) string {
	if !stamp.Complete() {
		return ""
	}
	return obsv1.SettingsName(stamp.Stack.Namespace, stamp.Stack.Name, stamp.ConfigHash)
}

// containerStep is about where a container's variables come from.
func (s *subject) containerStep(ctx context.Context, pod *corev1.Pod, container *corev1.Container, name string) Step {
	step := Step{Name: "container " + container.Name, State: metav1.ConditionTrue}
	at := slices.IndexFunc(container.EnvFrom, func(source corev1.EnvFromSource) bool {
		return source.SecretRef != nil && source.SecretRef.Name == name
	})
	if at < 0 {
		step.Says = "it reads no settings: it is a sidecar, or " + obsv1.AnnotationContainers + " leaves it out"
		return step
	}
	step.Says = "it reads Secret " + name
	secret := &corev1.Secret{}
	err := s.api.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, secret)
	if err != nil {
		step.Details = append(step.Details, Step{Name: "variables", State: metav1.ConditionUnknown,
			Says: readError("Secret "+name, pod.Namespace, err).Error()})
		return step
	}
	variables := make([]string, 0, len(secret.Data))
	for variable := range secret.Data {
		variables = append(variables, variable)
	}
	slices.Sort(variables)
	for _, variable := range variables {
		step.Details = append(step.Details, Step{
			Name: variable, State: metav1.ConditionTrue, Says: from(container, at, variable),
		})
	}
	return step
}

// from says who gives a variable its value. Kubernetes takes the last of several sources, and env
// before any.
func from(container *corev1.Container, at int, variable string) string {
	own := slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == variable })
	if own {
		return "the container's own value wins"
	}
	var others []string
	for _, source := range container.EnvFrom[at+1:] {
		switch {
		case source.SecretRef != nil:
			others = append(others, "Secret "+source.SecretRef.Name)
		case source.ConfigMapRef != nil:
			others = append(others, "ConfigMap "+source.ConfigMapRef.Name)
		}
	}
	if len(others) > 0 {
		return "from the stack, unless " + strings.Join(others, " or ") + " has it as well, which wins"
	}
	return "from the stack"
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
