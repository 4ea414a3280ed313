// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

var (
	componentTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "obstack_component_total",
		Help: "Passes over one part of a stack, by outcome: succeeded, waiting (Kubernetes is rolling it out), blocked " +
			"(somebody must change something) or failed (it is tried again).",
	}, []string{"component", "outcome"})

	componentDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "obstack_component_duration_seconds",
		Help:    "Time for applying the objects of one part of a stack.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
	}, []string{"component"})
)

func init() {
	ctrlmetrics.Registry.MustRegister(componentTotal, componentDuration)
}

// measure counts and times what is done for one component. Parts that are not
// requested are not counted.
func measure(component string, step func() result) result {
	start := time.Now()
	done := step()
	if done.Requested() {
		componentTotal.WithLabelValues(component, outcomeOf(done)).Inc()
		componentDuration.WithLabelValues(component).Observe(time.Since(start).Seconds())
	}
	return done
}

func outcomeOf(done result) string {
	switch {
	case done.retry != nil:
		return "failed"
	case done.Status == metav1.ConditionTrue:
		return "succeeded"
	case done.Reason == obsv1.ReasonRollingOut:
		return "waiting"
	default:
		return "blocked"
	}
}

// stackMetrics counts stacks by readiness, from the cache, when it is scraped.
type stackMetrics struct {
	reader client.Reader
}

var stacksDesc = prometheus.NewDesc("obstack_stacks",
	"ObservabilityStacks by the status of their condition Ready; Unknown before the first pass.", []string{"ready"}, nil)

var workloadsDesc = prometheus.NewDesc("obstack_workloads",
	"Workloads that name a stack, by state: injected, pending or refused, as the stack's status counts them.",
	[]string{"namespace", "stack", "state"}, nil)

var conditionDesc = prometheus.NewDesc("obstack_stack_condition",
	"1 for each condition of a stack with the status that it has: True, False or Unknown.",
	[]string{"namespace", "stack", "type", "status"}, nil)

// RegisterMetrics counts the stacks of a cache.
func RegisterMetrics(reader client.Reader) {
	ctrlmetrics.Registry.Unregister(&stackMetrics{})
	ctrlmetrics.Registry.MustRegister(&stackMetrics{reader})
}

// Describe implements prometheus.Collector.
func (*stackMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- stacksDesc
	ch <- workloadsDesc
	ch <- conditionDesc
}

// Collect implements prometheus.Collector.
func (m *stackMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stacks := &obsv1.ObservabilityStackList{}
	if err := m.reader.List(ctx, stacks, client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(stacksDesc, err)
		return
	}
	counts := map[metav1.ConditionStatus]int{metav1.ConditionTrue: 0, metav1.ConditionFalse: 0, metav1.ConditionUnknown: 0}
	for i := range stacks.Items {
		counts[readiness(&stacks.Items[i])]++
		countWorkloads(&stacks.Items[i], ch)
		for _, condition := range stacks.Items[i].Status.Conditions {
			ch <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, 1, stacks.Items[i].Namespace,
				stacks.Items[i].Name, condition.Type, string(condition.Status))
		}
	}
	for status, n := range counts {
		ch <- prometheus.MustNewConstMetric(stacksDesc, prometheus.GaugeValue, float64(n), string(status))
	}
}

func readiness(stack *obsv1.ObservabilityStack) metav1.ConditionStatus {
	if ready := meta.FindStatusCondition(stack.Status.Conditions, obsv1.Ready); ready != nil {
		return ready.Status
	}
	return metav1.ConditionUnknown
}

func countWorkloads(stack *obsv1.ObservabilityStack, ch chan<- prometheus.Metric) {
	workloads := stack.Status.Workloads
	if workloads == nil {
		return
	}
	for state, n := range map[string]int32{
		"injected": workloads.Injected, "pending": workloads.Pending, "refused": workloads.Refused,
	} {
		ch <- prometheus.MustNewConstMetric(workloadsDesc, prometheus.GaugeValue, float64(n), stack.Namespace, stack.Name,
			state)
	}
}
