// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator against a bare client, on one real API
// server of this machine, prints the figures and writes them to
// docs/benchmarks/operator.md. All are ratios or counts from one run, because times
// alone say more about the machine than about the operator.
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

const (
	// concurrency of the operator, and of the bare client that it is compared with.
	concurrency = 8
	// timeout bounds each wait.
	timeout = 20 * time.Minute
	// pollInterval is how often it is looked whether the operator is idle. A response takes
	// processor time that it needs.
	pollInterval = 400 * time.Millisecond
	// perNamespace is how many stacks share a namespace.
	perNamespace = 50
)

// bench is one run: how much to measure, the API server, the operator and what has been measured.
type bench struct {
	ctx                                                context.Context
	few, many, pairs, foreign, pods, rounds, workloads int
	*kit.Figures
	comparisons []string

	plane    *testenv.ControlPlane
	api      client.WithWatch
	webhooks *testenv.Webhooks
	engine   string // what injects: "webhook", "policy" or none
	binary   string
	op       *testenv.Operator
	// sets counts the sets of stacks, so that no two share a namespace.
	sets int
}

//go:embed report.md.tmpl
var page string

func main() { os.Exit(kit.Main(run)) }

func run(ctx context.Context, figures *kit.Figures) {
	b := &bench{ctx: ctx, Figures: figures}
	flag.IntVar(&b.few, "few", 200, "`stacks` of the first comparison")
	flag.IntVar(&b.pairs, "pairs", 7, "how often the first comparison is made; the median counts")
	flag.IntVar(&b.many, "many", 1000, "`stacks` of the second comparison and of all other measurements")
	flag.IntVar(&b.foreign, "foreign", 10000, "foreign `objects` of each kind")
	flag.IntVar(&b.pods, "pods", 2000, "`Pods` that are created in a turn")
	flag.IntVar(&b.rounds, "pod-rounds", 3, "`rounds` of turns by each engine and by none; the median counts")
	flag.IntVar(&b.workloads, "workloads", 10000, "`workloads`, with 5 Pods each; a multiple of 200")
	out := flag.String("out", filepath.Join("docs", "benchmarks", "operator.md"), "`file` to write if all is measured")
	all := kit.Parts{
		{"converge", b.converges}, {"steady", b.steady}, {"restart", b.restarts}, {"proofs", b.proofs},
		{"pods", b.podCreation}, {"workloads", b.workloadMemory},
	}
	parts := all.Chosen()
	date, load := time.Now().UTC().Format("2006-01-02 15:04"), kit.Load()
	dir := kit.Must(os.MkdirTemp("", "obstack-bench-"))
	defer os.RemoveAll(dir)
	kit.Progress("building the operator")
	b.binary = kit.Must(testenv.BuildOperator(ctx, dir))
	b.renew()
	defer func() { kit.Check(b.plane.Stop()) }()
	parts.Run()
	if len(parts) < len(all) {
		return
	}
	file := kit.Must(os.Create(*out))
	kit.Check(template.Must(template.New("page").Parse(page)).Execute(file, map[string]any{
		"Figures": b.String(), "Pairs": b.comparisons, "Date": date, "LoadBefore": load, "Load": kit.Load(),
		"Processors": runtime.NumCPU(), "Go": runtime.Version(), "Concurrency": concurrency,
		"Pods": b.pods, "Rounds": b.rounds,
		"Kubernetes": kit.Must(kit.Must(discovery.NewDiscoveryClientForConfig(b.plane.Config)).ServerVersion()).GitVersion,
	}))
	kit.Check(file.Close())
}

// renew starts an empty API server with the webhooks registered, in the place of the one that there
// is.
func (b *bench) renew() {
	if b.plane != nil {
		kit.Check(b.plane.Stop())
		b.op = nil
	}
	crds := filepath.Join(kit.Must(testenv.Root()), "test", "crds")
	b.plane = kit.Must(testenv.StartControlPlane(b.ctx, testenv.Options{Log: os.Stderr, CRDPaths: []string{crds}}))
	b.api = kit.Must(client.NewWithWatch(b.plane.Config, client.Options{Scheme: testenv.Scheme()}))
	b.webhooks, b.engine = kit.Must(testenv.RegisterWebhooks(b.plane)), "webhook"
}

// restart starts the operator, anew if it runs, and waits until it has passed over n stacks and has
// nothing left to do.
func (b *bench) restart(n int, flags ...string) {
	b.stopOperator()
	flags = slices.Concat(withoutProofs, flags, b.webhooks.Flags(),
		[]string{fmt.Sprintf("--max-concurrent-reconciles=%d", concurrency)})
	b.op = kit.Must(testenv.StartOperator(b.plane, b.binary, "operator", flags...))
	b.until(pollInterval, "the operator is idle", func(s testenv.Samples) bool {
		return s.Passes() >= float64(n) && s.Idle()
	})
	kit.Check(b.op.WaitReady(b.ctx))
}

func (b *bench) stopOperator() {
	if b.op != nil {
		kit.Check(b.op.Stop())
		b.op = nil
	}
}

func (b *bench) metrics() testenv.Samples { return kit.Must(b.op.Metrics(b.ctx)) }

// until polls the operator's metrics.
func (b *bench) until(every time.Duration, what string, holds func(testenv.Samples) bool) {
	b.wait(every, what, func(ctx context.Context) bool {
		samples, err := b.op.Metrics(ctx)
		return err == nil && holds(samples)
	})
}

func (b *bench) wait(every time.Duration, what string, holds func(context.Context) bool) {
	err := wait.PollUntilContextTimeout(b.ctx, every, timeout, true, func(ctx context.Context) (bool, error) {
		return holds(ctx), nil
	})
	if err != nil {
		kit.Check(fmt.Errorf("wait until %s: %w; the end of the operator's log:\n%s", what, err, b.op.Tail()))
	}
}

// rest waits until the operator has passed over nothing for a while.
func (b *bench) rest() {
	passes := -1.0
	b.until(pollInterval, "the operator has caught up", func(s testenv.Samples) bool {
		same := s.Passes() == passes && s.Idle()
		passes = s.Passes()
		return same
	})
}

// paused does something while the operator stands still.
func (b *bench) paused(do func()) {
	signal := func(s syscall.Signal) { kit.Check(syscall.Kill(b.op.PID(), s)) }
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	do()
}

func (b *bench) parallel(n int, do func(i int)) { kit.Parallel(n, concurrency, do) }

func (b *bench) create(obj client.Object) {
	if err := b.api.Create(b.ctx, obj); err != nil {
		kit.Check(fmt.Errorf("create %T %s: %w", obj, client.ObjectKeyFromObject(obj), err))
	}
}

// memory is the operator's resident memory in MiB, when it changes by less than 1 % in 5 s, or
// after a minute.
func (b *bench) memory() float64 {
	now := kit.MiB(kit.Must(b.op.Resident()))
	for range 12 {
		last := now
		kit.Pause(b.ctx, 5*time.Second)
		if now = kit.MiB(kit.Must(b.op.Resident())); math.Abs(now-last) < 0.01*last {
			break
		}
	}
	return now
}

//go:embed objects
var objects embed.FS

// read reads an object from the folder.
func read[T client.Object](file string, into T) T {
	kit.Check(yaml.UnmarshalStrict(kit.Must(objects.ReadFile("objects/"+file)), into))
	return into
}

// newStacks makes the namespaces for n stacks, with Services, and the Secrets that they refer to,
// which those of a namespace share unless they have their own. It returns the stacks, which it does
// not make.
func (b *bench) newStacks(n int, ownSecrets bool) []*obsv1.ObservabilityStack {
	b.sets++
	stacks := make([]*obsv1.ObservabilityStack, n)
	for i := range stacks {
		stack := read("stack.yaml", &obsv1.ObservabilityStack{})
		stack.Namespace, stack.Name = fmt.Sprintf("bench-%d-%d", b.sets, i/perNamespace), fmt.Sprintf("shop-%04d", i)
		stacks[i] = stack
		dsn, url := &stack.Spec.Sentry.DSNFrom.SecretKeyRef, &stack.Spec.Tasks.Brokers[0].URLFrom.SecretKeyRef
		if ownSecrets {
			dsn.Name, url.Name = stack.Name, stack.Name
		}
		if i%perNamespace == 0 {
			b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stack.Namespace}})
			for _, monitor := range stack.Spec.Metrics.Monitors { // A stack without its Services is not Ready.
				b.create(testenv.Service(stack.Namespace, monitor.Name, monitor.Selector.MatchLabels, "http"))
			}
		}
		if i%perNamespace == 0 || ownSecrets {
			b.secret(stack.Namespace, dsn.Name, secrets)
		}
	}
	return stacks
}

// secrets are what the keys hold that stacks refer to.
var secrets = map[string]string{
	"dsn": "https://f00dfeed@o1.ingest.sentry.example/42", "url": "redis://:hunter2@redis:6379/0",
}

func (b *bench) secret(namespace, name string, data map[string]string) {
	b.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data})
}

// podOf is a Pod of a Deployment, from its template.
func podOf(d *appsv1.Deployment) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: d.Spec.Template.Spec}
	pod.Namespace = d.Namespace
	pod.Labels["pod-template-hash"] = "5d8f6c7b9"
	pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-5d8f6c7b9", UID: types.UID("of-" + d.UID),
		Controller: new(true), BlockOwnerDeletion: new(true),
	}}
	return pod
}
