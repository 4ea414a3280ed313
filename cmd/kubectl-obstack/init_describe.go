// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// process is what a container runs.
type process struct {
	workload  *workload
	container corev1.Container
	variables map[string]variable
	// opaque are Secrets that give variables whose names the caller may not read.
	opaque []string
	// celery is set for workers and schedulers.
	celery *celery
	// framework is empty if nothing says that it serves HTTP; evidence is what does.
	framework obsv1.Framework
	evidence  string
}

// describe writes what an application needs.
func (d *draft) describe(app *application) {
	var processes []process
	for i := range app.workloads {
		for _, c := range app.workloads[i].containers() {
			p := process{workload: &app.workloads[i], container: c}
			p.variables, p.opaque = app.variables(c)
			words := commandLine(c)
			if p.celery = celeryOf(words); p.celery == nil {
				p.framework, p.evidence = frameworkOf(words, p.variables, c.Image)
			}
			processes = append(processes, p)
		}
	}
	d.comments["apiVersion"] = fmt.Sprintf("What kubectl obstack init found in namespace %s. "+
		"kubectl explain obs.spec describes the fields.", app.namespace)
	d.addMonitors(app, processes)
	d.addBrokers(processes)
	if d.stack.Spec.Metrics != nil || d.stack.Spec.Tasks != nil {
		d.addViews()
	}
	d.addSentry(app, processes)
	if d.empty() && len(d.notes) == 0 {
		d.note("The least that is useful is a Service to scrape. Write, instead of spec: {}", "spec:", "  metrics:",
			"    monitors:", "    - {name: api, selector: {matchLabels: {app: NAME}}}")
	}
	if d.empty() {
		return
	}
	d.addEnvironment(processes)
	d.addAnnotations(processes)
}

// addViews asks for dashboards and alerts.
func (d *draft) addViews() {
	d.try(func(stack *obsv1.ObservabilityStack) {
		stack.Spec.Dashboards, stack.Spec.Alerts = &obsv1.DashboardsSpec{}, &obsv1.AlertsSpec{}
	})
	d.comments["spec.dashboards"] = "For Grafana's sidecar, with the label grafana_dashboard."
	d.comments["spec.alerts"] = "All the default alerts. Each can be tuned or turned off."
}

// commandLine are the words of a container's command, those of a shell's script too.
func commandLine(c corev1.Container) (words []string) {
	for _, arg := range slices.Concat(c.Command, c.Args) {
		for word := range strings.FieldsSeq(arg) {
			words = append(words, strings.Trim(word, `"';`))
		}
	}
	return words
}

// servers are programs that serve HTTP, and what most often runs in them.
var servers = map[string]obsv1.Framework{
	"uvicorn": obsv1.FrameworkFastAPI, "hypercorn": obsv1.FrameworkFastAPI, "granian": obsv1.FrameworkFastAPI,
	"fastapi": obsv1.FrameworkFastAPI, "daphne": obsv1.FrameworkDjango, "manage.py": obsv1.FrameworkDjango,
	"django-admin": obsv1.FrameworkDjango, "flask": obsv1.FrameworkFlask, "gunicorn": obsv1.FrameworkFlask,
}

// frameworkOf a container, by its variables, its command and its image, in this order.
func frameworkOf(words []string, variables map[string]variable, image string) (obsv1.Framework, string) {
	if strings.Contains(variables["OTEL_METRICS_EXPORTER"].value, "prometheus") {
		return obsv1.FrameworkOpenTelemetry, "has OTEL_METRICS_EXPORTER"
	}
	if _, ok := variables["DJANGO_SETTINGS_MODULE"]; ok {
		return obsv1.FrameworkDjango, "has DJANGO_SETTINGS_MODULE"
	}
	if _, ok := variables["FLASK_APP"]; ok {
		return obsv1.FrameworkFlask, "has FLASK_APP"
	}
	for _, word := range words {
		base := path.Base(word)
		framework, ok := servers[base]
		switch {
		case !ok:
			continue
		case slices.ContainsFunc(words, func(w string) bool { return djangoModule.MatchString(w) }):
			framework = obsv1.FrameworkDjango
		case base == "gunicorn" && strings.Contains(strings.ToLower(strings.Join(words, " ")), "uvicorn"):
			framework = obsv1.FrameworkFastAPI
		}
		return framework, "runs " + base
	}
	repository := imageName(image)
	for _, framework := range []obsv1.Framework{
		obsv1.FrameworkFastAPI, obsv1.FrameworkStarlette, obsv1.FrameworkDjango, obsv1.FrameworkFlask,
	} {
		if strings.Contains(repository, string(framework)) {
			return framework, "has the image " + repository
		}
	}
	return "", ""
}

// djangoModule is how Django names what a server is to load.
var djangoModule = regexp.MustCompile(`\.[aw]sgi(:\w+)?$`)

// imageName is the last part of an image's repository.
func imageName(image string) string {
	name, _, _ := strings.Cut(path.Base(image), "@")
	name, _, _ = strings.Cut(name, ":")
	return strings.ToLower(name)
}

// addEnvironment takes the environment that the workloads agree on.
func (d *draft) addEnvironment(processes []process) {
	found, where := "", ""
	for _, p := range processes {
		for _, name := range []string{"SENTRY_ENVIRONMENT", "ENVIRONMENT"} {
			switch value := p.variables[name].value; {
			case value == "" || value == found:
			case found != "":
				d.note(fmt.Sprintf("%s in %s and in %s differ, so no environment was written.", name, where, p.workload))
				return
			default:
				found, where = value, p.workload.String()
			}
		}
	}
	if found == "" || d.try(func(stack *obsv1.ObservabilityStack) { stack.Spec.Environment = found }) != "" {
		d.note("Say where this runs, for Sentry, alerts and the workloads, below spec:", "environment: production")
		return
	}
	d.comments["spec.environment"] = "As in " + where + "."
}

// addAnnotations says how the workloads of the application get the settings.
func (d *draft) addAnnotations(processes []process) {
	if d.empty() {
		return
	}
	var args []string
	seen := map[string]bool{}
	for _, p := range processes {
		arg := p.workload.arg()
		if seen[arg] || p.framework == "" && p.celery == nil {
			continue
		}
		seen[arg] = true
		if stack, ok := p.workload.annotations[obsv1.AnnotationStack]; ok {
			d.note(fmt.Sprintf("%s has the annotation %s: %s already.", p.workload, obsv1.AnnotationStack, stack))
			continue
		}
		args = append(args, arg)
	}
	if len(args) > 0 {
		d.noteAnnotation(args...)
	}
}

func (d *draft) noteAnnotation(workloads ...string) {
	words := slices.Concat([]string{"kubectl annotate -n", d.stack.Namespace}, workloads,
		[]string{obsv1.AnnotationStack + "=" + d.stack.Name})
	d.note("Once the stack is there, give its settings to the workloads, which restarts them:", command(words...)...)
}

// short makes a name that has at most so many characters and is none of the taken ones.
func short(name string, most int, taken func(string) bool) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	name = strings.Trim(name, "-")
	if name == "" {
		name = "main"
	}
	for i := 1; ; i++ {
		suffix := ""
		if i > 1 {
			suffix = fmt.Sprintf("-%d", i)
		}
		candidate := strings.TrimRight(name[:min(len(name), most-len(suffix))], "-") + suffix
		if !taken(candidate) {
			return candidate
		}
	}
}
