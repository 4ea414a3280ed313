// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/brokerurl"
)

// celery is a command line of it.
type celery struct {
	role, app, broker string
	// events reports whether the worker sends them.
	events bool
	queues []string
}

// celeryOf a command line; nil if it runs neither a worker nor a scheduler.
func celeryOf(words []string) *celery {
	start := slices.IndexFunc(words, func(word string) bool { return path.Base(word) == "celery" })
	if start < 0 {
		return nil
	}
	c, rest := &celery{}, words[start+1:]
	for i := 0; i < len(rest); i++ {
		name, value, inline := strings.Cut(rest[i], "=")
		take := func() string {
			if !inline && i+1 < len(rest) {
				i++
				value = rest[i]
			}
			return value
		}
		switch name {
		case "-A", "--app":
			c.app = take()
		case "-b", "--broker":
			c.broker = take()
		case "-Q", "--queues":
			c.queues = strings.FieldsFunc(take(), func(r rune) bool { return r == ',' })
		case "-E", "--task-events", "--events":
			c.events = true
		case "worker", "beat":
			c.role = name
		}
	}
	if c.role == "" {
		return nil
	}
	return c
}

// watched is a broker and who uses it.
type watched struct {
	broker obsv1.Broker
	users  []process
}

// addBrokers writes a broker for each that workers and schedulers of Celery use.
func (d *draft) addBrokers(processes []process) {
	var all []watched
	for _, p := range processes {
		if p.celery == nil {
			continue
		}
		broker, problem := brokerOf(p)
		if problem != "" {
			d.noteBroker(p, problem)
			continue
		}
		same := func(w watched) bool {
			return w.broker.URL == broker.URL && sameSecret(w.broker.URLFrom, broker.URLFrom)
		}
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i].users = append(all[i].users, p)
			continue
		}
		all = append(all, watched{broker, []process{p}})
	}
	for _, w := range all {
		d.addBroker(w, len(all) == 1)
	}
}

func sameSecret(a, b *obsv1.SecretKeySource) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// addBroker writes one; the only one is called main, and others by the application.
func (d *draft) addBroker(w watched, only bool) {
	name := "main"
	if !only {
		name = w.users[0].workload.name
		if app, _, _ := strings.Cut(w.users[0].celery.app, ":"); app != "" {
			name, _, _ = strings.Cut(app, ".")
		}
	}
	users, silent := w.complete()
	if len(silent) > 0 {
		w.broker.Args = []string{"--enable-events"}
	}
	problem := d.try(func(stack *obsv1.ObservabilityStack) {
		if stack.Spec.Tasks == nil {
			stack.Spec.Tasks = &obsv1.TasksSpec{}
		}
		w.broker.Name = short(name, 19, func(name string) bool {
			return slices.ContainsFunc(stack.Spec.Tasks.Brokers, func(b obsv1.Broker) bool { return b.Name == name })
		})
		stack.Spec.Tasks.Brokers = append(stack.Spec.Tasks.Brokers, w.broker)
	})
	if problem != "" {
		d.noteBroker(w.users[0], "cannot be used as it is")
		return
	}
	place := fmt.Sprintf("spec.tasks.brokers.%d", len(d.stack.Spec.Tasks.Brokers)-1)
	d.comments[place] = "Used by " + strings.Join(users, ", ") + "."
	if len(silent) > 0 {
		d.comments[place+".args"] = fmt.Sprintf("%s: no -E in the command, so the exporter turns on the events.",
			strings.Join(silent, ", "))
	}
}

// complete the broker with the queues that its users name. The silent are workers that send no
// events by themselves.
func (w *watched) complete() (users, silent []string) {
	for _, p := range w.users {
		users = append(users, p.workload.String())
		if p.celery.role == "worker" && !p.celery.events {
			silent = append(silent, p.workload.String())
		}
		for _, queue := range p.celery.queues {
			if !strings.Contains(queue, "$") {
				w.broker.Queues = append(w.broker.Queues, queue)
			}
		}
	}
	slices.Sort(w.broker.Queues)
	w.broker.Queues = slices.Compact(w.broker.Queues)
	return slices.Compact(users), slices.Compact(silent)
}

// brokerOf a process of Celery, by its command or its variables. A problem says of the URL nothing
// but where it is.
func brokerOf(p process) (broker obsv1.Broker, problem string) {
	if url := p.celery.broker; url != "" {
		return plainBroker(url, "is in its command")
	}
	names := slices.Sorted(maps.Keys(p.variables))
	best := ""
	for _, name := range names {
		if r := brokerRank(name, p.variables[name]); r > 0 && (best == "" || r > brokerRank(best, p.variables[best])) {
			best = name
		}
	}
	if best == "" {
		return broker, "was not found"
	}
	if v := p.variables[best]; v.secret != nil {
		return obsv1.Broker{URLFrom: &obsv1.SecretKeySource{SecretKeyRef: *v.secret}}, ""
	}
	return plainBroker(p.variables[best].value, "is a plain value in "+best)
}

// brokerRank is how sure it is that a variable holds the URL of a broker; 0 if it does not.
func brokerRank(name string, v variable) int {
	if _, err := brokerurl.Parse(v.value); v.secret == nil && err != nil {
		return 0
	}
	name = strings.ToUpper(name)
	switch {
	case strings.Contains(name, "RESULT"):
		return 0
	case name == "CELERY_BROKER_URL":
		return 4
	case brokerName.MatchString(name):
		return 3
	case serverName.MatchString(name):
		return 2
	case v.secret == nil:
		return 1
	default:
		return 0
	}
}

// How variables with the URL of a broker are called.
var (
	brokerName = regexp.MustCompile(`BROKER(_UR[LI]|_DSN)?$`)
	serverName = regexp.MustCompile(`(REDIS|VALKEY|RABBIT|AMQP).*(UR[LI]|DSN)$`)
)

// plainBroker takes a URL that holds no secret and that another Pod can use.
func plainBroker(url, where string) (broker obsv1.Broker, problem string) {
	address, err := brokerurl.Parse(url)
	switch {
	case err != nil || strings.Contains(url, "$"):
		return broker, where + ", and cannot be used as it is"
	case strings.Contains(url, "@") || address.User != "" || address.Password != "" || len(address.Query) > 0:
		return broker, where + ", and may hold a password"
	case address.Socket || slices.ContainsFunc(address.Hosts, local):
		return broker, where + ", and is that of the Pod alone"
	}
	return obsv1.Broker{URL: strings.TrimSpace(url)}, ""
}

func local(host string) bool {
	return strings.HasPrefix(host, "localhost:") || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "[::1]")
}

// noteBroker says how to add the broker of a process by hand.
func (d *draft) noteBroker(p process, problem string) {
	name, key := d.stack.Name+"-broker", "url"
	says := fmt.Sprintf("%s runs Celery; its broker's URL %s. Put it into a Secret, and write below spec:",
		p.workload, problem)
	create := []string{
		fmt.Sprintf(`kubectl create secret generic -n %s %s \`, d.stack.Namespace, name), "  --from-literal=url=URL", "",
	}
	if len(p.opaque) > 0 {
		name, key, create = p.opaque[0], "CELERY_BROKER_URL", nil
		says = fmt.Sprintf("%s runs Celery; its broker's URL may be in Secret %s, whose keys you may not read. If it is "+
			"in CELERY_BROKER_URL there, write below spec:", p.workload, name)
	}
	d.note(says, append(create, "tasks:", "  brokers:", "  - name: main",
		fmt.Sprintf("    urlFrom: {secretKeyRef: {name: %s, key: %s}}", name, key))...)
}
