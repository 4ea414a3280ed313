// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Annotations by which many a Prometheus without its operator is led to Pods and Services.
const (
	annotationScrape = "prometheus.io/scrape"
	annotationPort   = "prometheus.io/port"
	annotationPath   = "prometheus.io/path"
	annotationScheme = "prometheus.io/scheme"
)

// metricsPorts are names of ports that serve nothing but metrics; httpPorts, of those that serve
// them among other things.
var (
	metricsPorts = []string{"metrics", "http-metrics", "prometheus", "prom", "web-metrics"}
	httpPorts    = []string{"http", "web", "api", "http-web", "http-api", "https"}
)

// foreign are images of what is no application.
var foreign = regexp.MustCompile(`redis|valkey|rabbitmq|postgres|pgbouncer|mysql|mariadb|mongo|memcached|nginx|` +
	`exporter|kafka|elasticsearch|opensearch|flower|minio|vault`)

// endpoint is a Service that serves metrics.
type endpoint struct {
	service  *corev1.Service
	monitor  obsv1.Monitor
	why      string
	backends string
}

// addMonitors writes a monitor for each Service that serves metrics.
func (d *draft) addMonitors(app *application, processes []process) {
	taken := map[string]bool{}
	services := slices.Clone(app.services)
	// A headless Service is often there beside one for clients.
	slices.SortStableFunc(services, func(a, b corev1.Service) int {
		return cmp.Compare(headless(&a), headless(&b))
	})
	for i := range services {
		e, ok := newEndpoint(&services[i], processes)
		if ok && !taken[e.backends] && d.usable(&e, app.services) {
			taken[e.backends] = true
			d.addMonitor(e)
		}
	}
	if d.stack.Spec.Metrics != nil {
		d.comments["spec.metrics"] = "Which Prometheus takes the ServiceMonitors is found out if there is one alone; else " +
			"write its labels below metrics, such as labels: {release: kube-prometheus-stack}"
	}
}

func headless(s *corev1.Service) int {
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		return 1
	}
	return 0
}

func (d *draft) addMonitor(e endpoint) {
	name := strings.TrimPrefix(strings.TrimPrefix(e.service.Name, d.stack.Name+"-"), "tasks-")
	problem := d.try(func(stack *obsv1.ObservabilityStack) {
		if stack.Spec.Metrics == nil {
			stack.Spec.Metrics = &obsv1.MetricsSpec{}
		}
		e.monitor.Name = short(name, 26, func(name string) bool {
			return slices.ContainsFunc(stack.Spec.Metrics.Monitors, func(m obsv1.Monitor) bool { return m.Name == name })
		})
		stack.Spec.Metrics.Monitors = append(stack.Spec.Metrics.Monitors, e.monitor)
	})
	if problem != "" {
		d.note(fmt.Sprintf("Service %s is left out: %s.", e.service.Name, problem))
		return
	}
	i := len(d.stack.Spec.Metrics.Monitors) - 1
	d.comments[fmt.Sprintf("spec.metrics.monitors.%d", i)] = e.why
}

// newEndpoint is what a Service serves, if anything says that it serves metrics.
func newEndpoint(s *corev1.Service, processes []process) (e endpoint, ok bool) {
	behind := selected(s, processes)
	server := slices.IndexFunc(behind, func(p process) bool { return p.framework != "" })
	own := slices.ContainsFunc(behind, func(p process) bool { return !foreign.MatchString(imageName(p.container.Image)) })
	hints := hintsOf(s, behind)
	if server < 0 && !own || hints[annotationScrape] == "false" {
		return endpoint{}, false
	}
	scrape := hints[annotationScrape] == "true"
	port, named := choosePort(s, hints, behind)
	if server < 0 && !scrape && !named {
		return endpoint{}, false
	}
	e = endpoint{service: s, backends: argsOf(behind), monitor: obsv1.Monitor{Port: port}}
	if server >= 0 {
		e.monitor.Framework = behind[server].framework
		e.why = fmt.Sprintf("Service %s: %s %s.", s.Name, behind[server].workload, behind[server].evidence)
	} else {
		e.why = fmt.Sprintf("Service %s says that it serves metrics, and nothing says of which framework: see its "+
			"metrics, and write framework.", s.Name)
	}
	if scrape {
		e.follow(hints)
	}
	return e, true
}

// follow the annotations about how to scrape.
func (e *endpoint) follow(hints map[string]string) {
	if path := hints[annotationPath]; plainPath.MatchString(path) && path != "/metrics" {
		e.monitor.Path = path
	}
	if hints[annotationScheme] == "https" {
		e.monitor.Scheme = "https"
	}
}

// selected are the processes behind a Service.
func selected(s *corev1.Service, processes []process) (behind []process) {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	selector := labels.SelectorFromSet(s.Spec.Selector)
	for _, p := range processes {
		if selector.Matches(labels.Set(p.workload.template.Labels)) {
			behind = append(behind, p)
		}
	}
	return behind
}

// hintsOf are the annotations of a Service, or of the first Pods behind it that say something of
// metrics.
func hintsOf(s *corev1.Service, behind []process) map[string]string {
	hints := s.Annotations
	for _, p := range behind {
		if hints[annotationScrape] == "" {
			hints = p.workload.template.Annotations
		}
	}
	return hints
}

func argsOf(processes []process) string {
	var args []string
	for _, p := range processes {
		args = append(args, p.workload.arg())
	}
	return strings.Join(slices.Compact(args), " ")
}

var plainPath = regexp.MustCompile(`^/[-A-Za-z0-9_.~/]{0,255}$`)

// choosePort of a Service. The name is empty if the port has none; named reports whether something
// says that this one serves metrics.
func choosePort(s *corev1.Service, hints map[string]string, behind []process) (name string, named bool) {
	ports := slices.DeleteFunc(slices.Clone(s.Spec.Ports), func(p corev1.ServicePort) bool {
		return p.Protocol != "" && p.Protocol != corev1.ProtocolTCP
	})
	if hint := hints[annotationPort]; hint != "" {
		for _, p := range ports {
			if slices.Contains(numbers(p, behind), hint) {
				return p.Name, true
			}
		}
	}
	for _, wanted := range slices.Concat(metricsPorts, httpPorts) {
		if slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Name == wanted }) {
			return wanted, slices.Contains(metricsPorts, wanted)
		}
	}
	if len(ports) == 0 {
		return "", false
	}
	return ports[0].Name, false
}

// numbers are those of a Service's port and of the container's behind it.
func numbers(p corev1.ServicePort, behind []process) []string {
	found := []string{strconv.Itoa(int(p.Port)), p.TargetPort.String()}
	for _, process := range behind {
		for _, c := range process.container.Ports {
			if c.Name == p.TargetPort.StrVal && c.Name != "" {
				found = append(found, strconv.Itoa(int(c.ContainerPort)))
			}
		}
	}
	return found
}

// usable reports whether a Service can be scraped, and chooses it by its labels; else a note says
// what keeps it from that.
func (d *draft) usable(e *endpoint, services []corev1.Service) bool {
	s := e.service
	switch {
	case e.monitor.Port == "":
		d.note(fmt.Sprintf("Service %s is left out: its port has no name. Give it one, and run this again:", s.Name),
			fmt.Sprintf(`kubectl patch -n %s service %s --type=json \`, s.Namespace, s.Name),
			`  -p '[{"op": "add", "path": "/spec/ports/0/name", "value": "http"}]'`)
		return false
	case len(s.Labels) == 0:
		d.note(fmt.Sprintf("Service %s is left out: it has no label to be chosen by. Give it one, and run this again:",
			s.Name), fmt.Sprintf("kubectl label -n %s service %s app=%s", s.Namespace, s.Name, s.Name))
		return false
	}
	e.monitor.Selector = metav1.LabelSelector{MatchLabels: chooseLabels(s, services)}
	return true
}

// chooseLabels are the fewest labels that choose a Service alone, or all that may be expected to
// stay.
func chooseLabels(s *corev1.Service, services []corev1.Service) map[string]string {
	keys := slices.Sorted(maps.Keys(s.Labels))
	best := []string{"app.kubernetes.io/name", "app", "app.kubernetes.io/component", "component", "k8s-app"}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(rank(best, a), rank(best, b)) })
	stable := map[string]string{}
	for _, key := range keys {
		if key == "helm.sh/chart" || key == "app.kubernetes.io/version" || key == "version" ||
			key == "app.kubernetes.io/managed-by" {
			continue
		}
		if one := map[string]string{key: s.Labels[key]}; s.Labels[key] != "" && count(one, services) == 1 {
			return one
		}
		stable[key] = s.Labels[key]
	}
	if len(stable) == 0 {
		return s.Labels
	}
	return stable
}

func rank(best []string, key string) int {
	if i := slices.Index(best, key); i >= 0 {
		return i
	}
	return len(best)
}

func count(selector map[string]string, services []corev1.Service) (n int) {
	for i := range services {
		if labels.SelectorFromSet(selector).Matches(labels.Set(services[i].Labels)) {
			n++
		}
	}
	return n
}
