// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// question asks for one part of a stack.
type question struct {
	asks, usually string
	// set what the reply says; an empty one leaves the part out.
	set func(stack *obsv1.ObservabilityStack, reply string) error
}

// questions about the application; the name is asked for only if it is not known.
func questions(d *draft, name bool) []question {
	all := []question{
		{"Where does it run?", "production", func(stack *obsv1.ObservabilityStack, reply string) error {
			stack.Spec.Environment = reply
			return nil
		}},
		{"The label of the Service that serves /metrics at its port http (- for none)", "app=" + d.stack.Name, setMonitor},
		{"The Secret and key with the URL of Celery's broker, such as shop-redis/url (- for none)", "-", setBroker},
		{"The Secret and key with Sentry's DSN, such as shop-sentry/dsn (- for none)", "-",
			func(stack *obsv1.ObservabilityStack, reply string) error {
				if ref := secretRef(reply); ref != nil {
					stack.Spec.Sentry = &obsv1.SentrySpec{DSNFrom: ref}
				}
				return nil
			}},
	}
	if name {
		all = append([]question{{"What is the application called?", d.stack.Name,
			func(stack *obsv1.ObservabilityStack, reply string) error {
				stack.Name = reply
				return nil
			}}}, all...)
	}
	return all
}

func setMonitor(stack *obsv1.ObservabilityStack, reply string) error {
	if reply == "" {
		return nil
	}
	chosen, err := labels.ConvertSelectorToLabelsMap(reply)
	if err != nil {
		return errors.New("write a label and its value, such as app=shop-api")
	}
	stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{
		Name: "api", Selector: metav1.LabelSelector{MatchLabels: chosen},
		Framework: obsv1.FrameworkFastAPI, Port: "http",
	}}}
	return nil
}

func setBroker(stack *obsv1.ObservabilityStack, reply string) error {
	if ref := secretRef(reply); ref != nil {
		stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URLFrom: ref}}}
	}
	return nil
}

// secretRef of NAME/KEY; nil if there is none.
func secretRef(reply string) *obsv1.SecretKeySource {
	if reply == "" {
		return nil
	}
	name, key, _ := strings.Cut(reply, "/")
	return &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: key}}
}

// ask for what an application needs. A reply that the API server would refuse is asked for again.
func ask(ctx context.Context, in io.Reader, out io.Writer, d *draft, name bool) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	if name {
		if err := askFor(ctx, lines, out, d, questions(d, true)[0]); err != nil {
			return err
		}
	}
	for _, q := range questions(d, false) {
		if err := askFor(ctx, lines, out, d, q); err != nil {
			return err
		}
	}
	d.comments["apiVersion"] = "kubectl explain obs.spec describes the fields."
	if d.stack.Spec.Metrics != nil || d.stack.Spec.Tasks != nil {
		d.addViews()
	}
	d.noteAnnotation("deployment/NAME")
	return nil
}

func askFor(ctx context.Context, lines <-chan string, out io.Writer, d *draft, q question) error {
	for {
		fmt.Fprintf(out, "%s [%s]: ", q.asks, q.usually)
		reply, open := "", false
		select {
		case <-ctx.Done():
			fmt.Fprintln(out)
			return ctx.Err()
		case reply, open = <-lines:
		}
		if !open {
			return errors.New("the replies ended before the questions did")
		}
		if reply = strings.TrimSpace(reply); reply == "" {
			reply = q.usually
		}
		if reply == "-" {
			reply = ""
		}
		var wrong error
		problem := d.try(func(stack *obsv1.ObservabilityStack) { wrong = q.set(stack, reply) })
		if wrong != nil {
			problem = wrong.Error()
		}
		if problem == "" {
			return nil
		}
		say(out, "%s", problem)
	}
}
