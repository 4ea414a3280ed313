// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/test/testenv"
)

const (
	// needsPython is what is said where there is none.
	needsPython = "PYTHON=1 runs a shop in Python, and python3 of the PATH is not Python 3.8 or newer with venv: " +
		"install it (Debian and Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3; " +
		"macOS: brew install python3); make demo LIVE=1 needs none"
	pythonStandIns = `
      Real are Prometheus, the task exporter, what the operator made, and the shop: FastAPI and Celery in
      hack/demo/python, without a line for logs, metrics, events or Sentry.
      Instead of Pods, whose nodes are simulated: %d processes here, each with the command, the variables and the
      modules that the Pod of its name has, but for addresses, ports and folders.
      Instead of Redis and Sentry: a broker and a receiver of events in Go.
      Instead of service discovery: a list of targets, scraped every %s, so that you need not wait.
`
	// pythonTimeout bounds the wait for what is shown of the processes.
	pythonTimeout = 2 * time.Minute
)

// installPython makes an environment with the shop's libraries in the user's cache, and returns its
// interpreter. What is there is taken as it is.
func (d *demo) installPython(ctx context.Context) (string, error) {
	version, err := exec.CommandContext(ctx, "python3", "-c",
		"import ensurepip, sys, venv; assert sys.version_info >= (3, 8); print(*sys.version_info[:3], sep='.')").Output()
	if err != nil {
		return "", errors.Join(ctx.Err(), errors.New(needsPython))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the shop's libraries: %w", err)
	}
	file := filepath.Join(d.root, "hack", "demo", "python", "requirements.txt")
	requirements, err := os.ReadFile(file) // #nosec G304 -- a file of the checkout
	if err != nil {
		return "", fmt.Errorf("install the shop's libraries: %w", err)
	}
	sum := sha256.Sum256(requirements)
	name := fmt.Sprintf("python-%s-%x", bytes.TrimSpace(version), sum[:4])
	dir := filepath.Join(cache, "obstack", "demo", name)
	interpreter := filepath.Join(dir, "bin", "python")
	d.says("installing the shop's libraries into %s, once", dir)
	if _, err := os.Stat(interpreter); err == nil {
		return interpreter, nil
	}
	return interpreter, installInto(ctx, dir, file)
}

// installInto makes an environment, which is complete or not there.
func installInto(ctx context.Context, dir, requirements string) error {
	unfinished := fmt.Sprintf("%s.%d", dir, os.Getpid())
	defer func() { _ = os.RemoveAll(unfinished) }() // What was renamed is not there.
	for _, args := range [][]string{
		{"python3", "-m", "venv", unfinished},
		{filepath.Join(unfinished, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
			"-r", requirements},
	} {
		output, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput() // #nosec G204 -- of this file
		if err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("install the shop's libraries, for which pip needs an index of packages: "+
				"%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output)))
		}
	}
	// Where another demo was faster, its environment is as good.
	if err := os.Rename(unfinished, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("install the shop's libraries: %w", err)
	}
	return nil
}

// pythonShop are the processes of the shop in Python.
type pythonShop struct {
	web, workers []*testenv.Process
	sentry       *receiver
}

// stop ends all, before the broker goes that workers say goodbye to.
func (p *pythonShop) stop() error {
	var errs []error
	for _, process := range slices.Concat(p.web, p.workers) {
		errs = append(errs, process.Stop())
	}
	return errors.Join(append(errs, p.sentry.stop())...)
}

// startPython starts a process for each Pod that has the bundle, as its first container is, and
// returns how Prometheus finds them.
func (d *demo) startPython(ctx context.Context, stack *obsv1.ObservabilityStack) ([]any, error) {
	monitors := &monitoringv1.PodMonitorList{}
	if err := d.api.List(ctx, monitors, ofStack(stack)...); err != nil {
		return nil, fmt.Errorf("list the PodMonitors: %w", err)
	}
	pods, err := d.stampedPods(ctx, stack)
	if err != nil {
		return nil, err
	}
	receiver, err := startReceiver()
	if err != nil {
		return nil, err
	}
	d.parts.python = &pythonShop{sentry: receiver}
	var targets []podTarget
	for i := range pods {
		target, err := d.startPod(ctx, &pods[i])
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	var configs []any
	for i := range monitors.Items {
		configs = append(configs, podScrapeConfigs(&monitors.Items[i], targets)...)
	}
	say(d.out, strings.Trim(pythonStandIns, "\n"), len(targets), scrapeInterval)
	return configs, nil
}

// startPod starts what the first container of a Pod would run, and waits until a web server is
// ready.
func (d *demo) startPod(ctx context.Context, pod *corev1.Pod) (podTarget, error) {
	target := podTarget{pod: pod}
	variables, err := d.variables(ctx, pod)
	if err != nil {
		return target, err
	}
	var address string
	for _, found := range []*string{&target.address, &address} {
		if *found, err = testenv.FindAddress(); err != nil {
			return target, err
		}
	}
	_, variables["OBSTACK_METRICS_PORT"], _ = strings.Cut(target.address, ":")
	container := &pod.Spec.Containers[0]
	isWeb := container.ReadinessProbe != nil
	args := container.Command
	if isWeb {
		args = listenOn(args, container.Ports[0].ContainerPort, address)
	}
	// #nosec G204 -- the Pod is of a sample, with a program that the environment has as a module.
	command := exec.Command(d.interpreter, append([]string{"-m"}, args...)...)
	command.Dir = filepath.Join(d.root, "hack", "demo", "python")
	for name, value := range variables {
		command.Env = append(command.Env, name+"="+value)
	}
	process, err := d.cp.StartProcess(pod.Name, command)
	if err != nil {
		return target, err
	}
	if !isWeb {
		d.parts.python.workers = append(d.parts.python.workers, process)
		return target, nil
	}
	d.parts.python.web = append(d.parts.python.web, process)
	d.parts.addresses = append(d.parts.addresses, address)
	return target, awaitReady(ctx, process, "http://"+address+container.ReadinessProbe.HTTPGet.Path)
}

// listenOn is a command that listens on an address, instead of on that port of all.
func listenOn(command []string, port int32, address string) []string {
	host, free, _ := strings.Cut(address, ":")
	instead := map[string]string{"0.0.0.0": host, strconv.Itoa(int(port)): free}
	args := slices.Clone(command)
	for i, arg := range args {
		args[i] = cmp.Or(instead[arg], arg)
	}
	return args
}

// variables that the first container of a Pod has: those of its settings, and its own. What a node
// would mount is in a folder.
func (d *demo) variables(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	dir := filepath.Join(d.cp.Dir(), "pods", pod.Name)
	variables := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": dir, "OBSTACK_RUN_DIR": dir, "PYTHONDONTWRITEBYTECODE": "1", "C_FORCE_ROOT": "1",
	}
	container := &pod.Spec.Containers[0]
	for _, source := range container.EnvFrom {
		secret := &corev1.Secret{}
		key := client.ObjectKey{Namespace: pod.Namespace, Name: source.SecretRef.Name}
		if err := d.api.Get(ctx, key, secret); err != nil {
			return nil, fmt.Errorf("read what Pod %s has its settings from: %w", pod.Name, err)
		}
		for name, value := range secret.Data {
			variables[name] = string(value)
		}
	}
	modules := filepath.Join(dir, "modules")
	for _, own := range container.Env {
		variables[own.Name] = strings.Replace(own.Value, policy.PythonFolder, modules, 1)
	}
	// What is outside of this machine, or of nobody.
	variables["CELERY_BROKER_URL"], variables["SENTRY_DSN"] = d.parts.celery.URL, d.parts.python.sentry.dsn
	return variables, d.mountModules(ctx, pod, modules)
}

// mountModules writes the ConfigMap with the bundle into a folder.
func (d *demo) mountModules(ctx context.Context, pod *corev1.Pod, dir string) error {
	at := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil && strings.HasPrefix(v.ConfigMap.Name, obsv1.PythonName(""))
	})
	if at < 0 {
		return fmt.Errorf("pod %s has no bundle for Python", pod.Name)
	}
	bundle := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: pod.Namespace, Name: pod.Spec.Volumes[at].ConfigMap.Name}
	err := errors.Join(os.MkdirAll(dir, 0o700), d.api.Get(ctx, key, bundle))
	for name, text := range bundle.Data {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	if err != nil {
		return fmt.Errorf("mount the bundle for Python: %w", err)
	}
	return nil
}

// showPython waits until processes reported themselves, and both kinds of them wrote a line of the
// application's and had an error, and shows one of each.
func (d *demo) showPython(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	var reported, written, sent string
	err := wait.PollUntilContextTimeout(ctx, time.Second, pythonTimeout, true, func(ctx context.Context) (bool, error) {
		series, err := proof.Ask(ctx, stack, "", d.parts.client())
		if err != nil {
			return false, err
		}
		reported = judge.Python(stack, series, nil)[0].Message
		web, worker := firstLine(d.parts.python.web, "shop.api"), firstLine(d.parts.python.workers, "shop.tasks")
		written = "\n        " + web + "\n        " + worker
		events, all := d.parts.python.sentry.events()
		sent = events
		return len(series.Processes) > 0 && web != "" && worker != "" && all, nil
	})
	if err != nil {
		return errors.Join(ctx.Err(),
			fmt.Errorf("show the shop in Python, of which is known %q, %q, %q: %w", reported, written, sent, err))
	}
	say(d.out, "\n      What the processes say of themselves, which the condition PythonReady repeats:\n        %s.",
		reported)
	say(d.out, "      A line of the web server's, and one of the worker's:%s", written)
	say(d.out, "      Sentry would have been sent, among others:%s", sent)
	return nil
}

// firstLine is the first line of a logger's in JSON that one of the processes wrote; empty if there
// is none.
func firstLine(of []*testenv.Process, logger string) string {
	for _, process := range of {
		content, _ := os.ReadFile(process.Log) // It is asked for again.
		for line := range strings.Lines(string(content)) {
			var fields struct{ Logger string }
			if json.Unmarshal([]byte(line), &fields) == nil && fields.Logger == logger {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// podTarget is a Pod, and where what stands in for it serves metrics.
type podTarget struct {
	pod     *corev1.Pod
	address string
}

// podScrapeConfigs are what prometheus-operator makes of a PodMonitor, with targets that are listed
// instead of discovered.
func podScrapeConfigs(monitor *monitoringv1.PodMonitor, targets []podTarget) []any {
	var configs []any
	for i := range monitor.Spec.PodMetricsEndpoints {
		endpoint := &monitor.Spec.PodMetricsEndpoints[i]
		var static []any
		for _, t := range targets {
			ports := t.pod.Spec.Containers[0].Ports
			labels := map[string]string{
				"namespace": t.pod.Namespace, "pod": t.pod.Name, "job": monitor.Namespace + "/" + monitor.Name,
				"__meta_kubernetes_namespace":               t.pod.Namespace,
				"__meta_kubernetes_pod_container_port_name": ports[len(ports)-1].Name,
			}
			for _, owner := range t.pod.OwnerReferences {
				labels["__meta_kubernetes_pod_controller_kind"] = owner.Kind
				labels["__meta_kubernetes_pod_controller_name"] = owner.Name
			}
			static = append(static, map[string]any{"targets": []string{t.address}, "labels": labels})
		}
		configs = append(configs, map[string]any{
			"job_name":        fmt.Sprintf("podMonitor/%s/%s/%d", monitor.Namespace, monitor.Name, i),
			"metrics_path":    cmp.Or(endpoint.Path, "/metrics"),
			"static_configs":  static,
			"relabel_configs": relabelings(endpoint.RelabelConfigs),
		})
	}
	return configs
}
