// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// DoctorReport is what kubectl obstack doctor prints with -o json and -o yaml.
type DoctorReport struct {
	// Stacks is how many were looked at.
	Stacks int `json:"stacks"`
	// Seen reports whether it was seen that the cluster serves stacks, and a Deployment of the
	// operator. Without both nobody knows whether obstack is well, and the exit status is 1.
	Seen bool `json:"seen"`
	// Findings are what was looked at, in a fixed order.
	Findings []DoctorFinding `json:"findings"`
}

// DoctorFinding says of one thing whether it is as it should be.
type DoctorFinding struct {
	// Name is such as roles or certificate. Several findings may have the same.
	Name string `json:"name"`
	// State is ok, warning, problem, or unknown if the caller has no right to see it.
	State FindingState `json:"state"`
	// Message says what was found.
	Message string `json:"message"`
	// Remedy says what to do; absent if there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}

// FindingState is one of the constants below.
type FindingState string

// The states of a finding. A problem keeps something from working, or this from seeing whether it
// does: what the API server fails to say is one, and what the caller may not read is none.
const (
	StateOK      FindingState = "ok"
	StateWarning FindingState = "warning"
	StateProblem FindingState = "problem"
	StateUnknown FindingState = "unknown"
)

func newDoctor(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var output, operatorNamespace string
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with the installation",
		Long: `Look at the installation of obstack and at all stacks: the definitions, the operator and its roles,
what injects settings and its certificate, the platforms, which Prometheus selects what the stacks
have, and what the operator found out about dashboards, Sentry, task events and the stacks.

It says what is wrong and what to do, and nothing of what is well, but with -o wide. What you may
not read is unknown, and it says which right you lack. What could not be read for another reason is
a problem. Where you may not read the stacks of all namespaces, it looks at those of the one of -n.

Whoever may make Deployments may make one that looks like the operator. It is believed where
webhooks, bindings or policies of the cluster lead to it, which teams may not write, and else in
the namespace obstack-system, or that of --operator-namespace.

The exit status is 1 if there is a problem, or if you may not even see whether the cluster serves
stacks and has an operator, and else 0.`,
		Example: `  kubectl obstack doctor
  kubectl obstack doctor -o wide     # with what is well
  kubectl obstack doctor -o json     # for programs`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("doctor looks at all of obstack and takes no %s: kubectl obstack status "+
					"looks at one stack", args[0])}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			printer, err := newPrinter(streams.Out, output, "wide")
			if err != nil {
				return err
			}
			reader, err := newScopedReader(flags)
			if err != nil {
				return err
			}
			in, err := readInstallation(command.Context(), reader, operatorNamespace)
			if err != nil {
				return err
			}
			report := examine(in, time.Now())
			if err := printer.show(report, []node{report.tree(output == "wide")}); err != nil {
				return err
			}
			if report.count(StateProblem) > 0 || !report.Seen {
				return errWrong
			}
			return nil
		},
	}
	addOutput(command, &output, "json, yaml, or wide: with what is well", "wide")
	command.Flags().StringVar(&operatorNamespace, "operator-namespace", "", "the `NAMESPACE` of the operator, if no "+
		"webhook, binding or policy of the cluster leads there")
	return command
}

// readInstallation reads what is examined. The namespace of the operator is empty if it is not
// known.
func readInstallation(ctx context.Context, api scopedReader, operatorNamespace string) (*installation, error) {
	in := &installation{
		kubernetes: api.kubernetes, operatorsIn: operatorNamespace, operatorsGiven: operatorNamespace != "",
	}
	if err := in.readServed(api); err != nil {
		return nil, fmt.Errorf("ask the cluster what it serves: %w", err)
	}
	in.read(ctx, api)
	return in, ctx.Err()
}

// examine what was read.
func examine(in *installation, now time.Time) *DoctorReport {
	report := &DoctorReport{Stacks: len(in.stacks), Seen: in.seen(), Findings: []DoctorFinding{}}
	for _, check := range []func(*installation) []DoctorFinding{
		checkVersions, checkDefinitions, checkOperators, checkRoles, checkInjection,
		func(in *installation) []DoctorFinding { return checkCertificates(in, now) },
		checkBounds, checkPlatforms, checkPrometheus, checkReports, checkStacks,
	} {
		report.Findings = append(report.Findings, check(in)...)
	}
	return report
}

func ok(name, message string, args ...any) DoctorFinding {
	return DoctorFinding{Name: name, State: StateOK, Message: fmt.Sprintf(message, args...)}
}

// unread are the findings that something could not be read, if it is so.
func (in *installation) unread(name, what string) (findings []DoctorFinding) {
	var refused []string
	for _, err := range in.failed[what] {
		if apierrors.IsForbidden(err) {
			refused = append(refused, right(what, err))
			continue
		}
		findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
			Message: readError(what, metav1.NamespaceAll, err).Error(),
			Remedy:  "kubectl get --raw '/readyz?verbose' says whether the API server is well; run this again when it is",
		})
	}
	slices.SortFunc(findings, func(a, b DoctorFinding) int { return strings.Compare(a.Message, b.Message) })
	findings = slices.Compact(findings)
	if len(refused) > 0 {
		slices.Sort(refused)
		findings = append(findings, DoctorFinding{Name: name, State: StateUnknown,
			Message: "you may not " + strings.Join(slices.Compact(refused), ", nor "),
			Remedy:  "ask for a role that lets you, or somebody who has it"})
	}
	return findings
}

// right that was refused when something was read, such as list deployments.apps.
func right(what string, err error) string {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || status.ErrStatus.Details == nil || status.ErrStatus.Details.Kind == "" {
		return "get and list " + what
	}
	of := status.ErrStatus.Details
	verb := "get "
	if of.Name == "" {
		verb = "list "
	}
	return verb + schema.GroupResource{Group: of.Group, Resource: of.Kind}.String()
}

// orOK is a finding that all is well, if there is no other.
func orOK(findings []DoctorFinding, well DoctorFinding) []DoctorFinding {
	if len(findings) == 0 {
		return []DoctorFinding{well}
	}
	return findings
}

func (r *DoctorReport) count(state FindingState) int {
	count := 0
	for _, finding := range r.Findings {
		if finding.State == state {
			count++
		}
	}
	return count
}

// tree shows what is not well; wide, all.
func (r *DoctorReport) tree(wide bool) node {
	root := node{text: r.summary(), state: metav1.ConditionTrue}
	if r.count(StateProblem) > 0 || !r.Seen {
		root.state = metav1.ConditionFalse
	} else if r.count(StateOK) < len(r.Findings) {
		root.state = metav1.ConditionUnknown
	}
	// The worst first.
	for _, state := range []FindingState{StateProblem, StateWarning, StateUnknown, StateOK} {
		for _, finding := range r.Findings {
			if finding.State == state && (state != StateOK || wide) {
				root.branches = append(root.branches, finding.node())
			}
		}
	}
	return root
}

// summary is one line.
func (r *DoctorReport) summary() string {
	looked := fmt.Sprintf("%d checks, %s", len(r.Findings), plural(r.Stacks, "stack"))
	if r.count(StateOK) == len(r.Findings) && r.Seen {
		return "obstack is well: " + looked
	}
	var counts []string
	for _, state := range []FindingState{StateProblem, StateWarning} {
		if n := r.count(state); n > 0 {
			counts = append(counts, plural(n, string(state)))
		}
	}
	if n := r.count(StateUnknown); n > 0 {
		counts = append(counts, fmt.Sprintf("%d unknown", n))
	}
	has := "obstack has "
	if !r.Seen && r.count(StateProblem) == 0 {
		has = "obstack was not seen, and has "
	}
	return has + strings.Join(counts, ", ") + ": " + looked
}

func (f DoctorFinding) node() node {
	// What somebody else wrote does not look like a remedy.
	n := node{text: f.Name + ": " + string(f.State), says: strings.ReplaceAll(f.Message, "\n", " ")}
	switch f.State {
	case StateOK:
		n.state = metav1.ConditionTrue
	case StateProblem:
		n.state = metav1.ConditionFalse
	default:
		n.state = metav1.ConditionUnknown
	}
	if f.Remedy != "" {
		n.says += "\n→ " + f.Remedy
	}
	return n
}

// plural counts things.
func plural(count int, thing string) string {
	if count == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", count, thing)
}

// maxNamed bounds the lists in messages.
const maxNamed = 4

// some of the names of a list, in its order, and how many more there are.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if more := len(names) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// byCount shows counts by their keys, such as MissingAPI 2, in the order of the keys.
func byCount(counts map[string]int) string {
	var texts []string
	for key, count := range counts {
		texts = append(texts, fmt.Sprintf("%s %d", key, count))
	}
	slices.Sort(texts)
	return some(texts)
}
