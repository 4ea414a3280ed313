// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"obstack.dev/obstack/internal/taskexporter/series"
)

// flagSpecs are all options, the peer's first and in its order.
var flagSpecs = append(peerFlags, ownFlags...)

// peerFlags have the names, defaults and units of the peer (danihodovic/celery-exporter, src/cli.py), because people keep
// their arguments when they change the image. Where Prometheus or Celery demand something, it is said beside the flag.
var peerFlags = []flagSpec{
	{name: "broker-url", help: "URL of the broker.",
		set: func(s *settings, v string) error { s.brokerURL = v; return nil }},
	{name: "broker-transport-option", repeats: true,
		help: "Transport option of the Celery application, NAME=VALUE: global_keyprefix, master_name, sentinel_kwargs, fanout_prefix, fanout_patterns, priority_steps, sep, unacked_key.",
		set:  setTransport},
	{name: "broker-ssl-option", repeats: true,
		help: "TLS option NAME=VALUE: ca_certs, certfile, keyfile, cert_reqs (CERT_NONE, CERT_REQUIRED), check_hostname, server_hostname. Any turns TLS on.",
		set: func(s *settings, v string) error {
			name, value, found := strings.Cut(v, "=")
			if !found {
				return fmt.Errorf("%q: want NAME=VALUE", v)
			}
			s.tlsValues[name] = value
			return nil
		}},
	// The peer passes this on to kombu, which needs it to read pickles. Reading a pickle runs what is in it, and anyone who may
	// publish can send one; so what is read is fixed.
	{name: "accept-content", help: "Accepted and without effect: JSON, MessagePack and YAML are read, and anything else counted as malformed.",
		set: func(s *settings, _ string) error {
			s.warn("--accept-content: JSON, MessagePack and YAML are read, whatever is set here")
			return nil
		}},
	// With the peer's default, 0, any error of the broker ends the process, and its counters are gone.
	{name: "retry-interval", help: "Accepted and without effect: lost connections are made again for ever, with growing pauses.",
		set: func(s *settings, v string) error {
			s.warn("--retry-interval: the exporter always reconnects, with pauses of its own")
			_, err := seconds(v)
			return err
		}},
	// All addresses, as with the peer: in a pod, nobody could ask for metrics at the loopback alone.
	{name: "host", initial: "0.0.0.0", help: "Address to listen on.",
		set: func(s *settings, v string) error { s.host = v; return nil }},
	{name: "port", initial: "9808", help: "Port to listen on.",
		set: number(0, math.MaxUint16, func(s *settings) *int { return &s.port })},
	{name: "buckets", initial: defaultBuckets, help: "Upper bounds of the runtime histogram, in seconds.",
		set: func(s *settings, v string) (err error) { s.Series.RuntimeBuckets, err = parseBuckets(v); return err }},
	{name: "queue-wait-buckets", initial: defaultWaitBuckets, help: "Upper bounds of the queue wait histogram, in seconds. It needs task_send_sent_event in the clients.",
		set: func(s *settings, v string) (err error) { s.Series.WaitBuckets, err = parseBuckets(v); return err }},
	{name: "log-level", initial: "INFO", help: "DEBUG, INFO, WARNING or ERROR.",
		set: func(s *settings, v string) (err error) { s.LogLevel, err = parseLevel(v); return err }},
	// The peer looks at these two times only when it is scraped, and by the worker's clock: one that is ten minutes behind is
	// never seen, one that is ahead lives too long. Here a timer looks, by our own clock.
	{name: "worker-timeout", initial: "300", help: "Seconds without a heartbeat after which a worker counts as lost. 0: never.",
		set: duration(0, func(s *settings) *time.Duration { return &s.WorkerTimeout })},
	{name: "purge-offline-worker-metrics", initial: "600", help: "Seconds without a heartbeat after which the series of a worker's host are removed. 0: never.",
		set: duration(0, func(s *settings) *time.Duration { return &s.PurgeAfter })},
	// In a fleet of pods that come and go each host name is a set of new series: 2,000 client pods made 200,000 of the peer's.
	{name: "generic-hostname-task-sent-metric", isSwitch: true, help: "Put \"generic\" in place of the client's host name in task_sent.",
		set: boolFlag(func(s *settings) *bool { return &s.GenericClientHost })},
	{name: "generic-hostname-worker-task-metric", isSwitch: true, help: "Put \"generic\" in place of the worker's host name in all other series of tasks.",
		set: boolFlag(func(s *settings) *bool { return &s.GenericWorkerHost })},
	// Queues are learnt from workers and from task-sent. What neither names is not known: in Redis an empty queue does not even
	// exist, so nothing can be listed.
	{name: "queues", short: "Q", help: "Queues to show even before a worker consumes them, separated by commas.",
		set: func(s *settings, v string) error {
			for queue := range strings.SplitSeq(v, ",") {
				if queue = strings.TrimSpace(queue); queue != "" {
					s.Queues = append(s.Queues, queue)
				}
			}
			return nil
		}},
	{name: "metric-prefix", initial: "celery_", help: "What all names of metrics begin with.",
		set: func(s *settings, v string) error {
			if !model.LegacyValidation.IsValidMetricName(v + "x") {
				return errors.New("want letters, digits, underscores and colons")
			}
			s.Series.Prefix = v
			return nil
		}},
	// Celery's own default queue. The only event that tells the queue is the client's task-sent, which is off by default.
	{name: "default-queue-name", initial: "celery", help: "Queue name of tasks whose queue is not known.",
		set: func(s *settings, v string) error { s.DefaultQueue = v; return nil }},
	{name: "static-label", repeats: true, help: "Label NAME=VALUE that every metric carries.",
		set: func(s *settings, v string) error {
			// Prometheus refuses a whole scrape in which one series has a label twice.
			label, err := parseStaticLabel(v)
			if slices.ContainsFunc(s.Series.Static, func(other series.Label) bool { return other.Name == label.Name }) {
				return fmt.Errorf("the label %q is given twice", label.Name)
			}
			s.Series.Static = append(s.Series.Static, label)
			return err
		}},
}

// ownFlags are about what the peer does not do, or does without limits.
var ownFlags = []flagSpec{
	// A wrong name gives silence and no error: whatever exchange is named can be subscribed to.
	{name: "event-exchange", initial: "celeryev", help: "The application's event_exchange.",
		set: func(s *settings, v string) error { s.Transport.Exchange = v; return nil }},
	// Off by default, because it changes what workers do for all who listen, and costs each of them a message a step.
	{name: "enable-events", isSwitch: true, help: "Tell workers that send no task events to send them, again and again, so that new workers are caught.",
		set: boolFlag(func(s *settings) *bool { return &s.EnableEvents })},
	// A question reaches every worker and each answers, so they are rare, and a scrape never asks one.
	{name: "inspect-interval", initial: "30", help: "Seconds between questions to workers about their queues and pools.",
		set: duration(time.Second, func(s *settings) *time.Duration { return &s.InspectInterval })},
	{name: "queue-interval", initial: "10", help: "Seconds between readings of queue depths.",
		set: duration(time.Second, func(s *settings) *time.Duration { return &s.QueueInterval })},
	// Each needs permissions of the broker's user, which docs/task-exporter.md lists.
	{name: "no-inspect", isSwitch: true, help: "Ask workers nothing: no queues and processes of workers.",
		set: boolFlag(func(s *settings) *bool { return &s.NoInspect })},
	{name: "no-queue-lengths", isSwitch: true, help: "Do not read the lengths of queues.",
		set: boolFlag(func(s *settings) *bool { return &s.NoQueueLengths })},
	{name: "no-unacked", isSwitch: true, help: "Do not read the number of messages that are not acknowledged (Redis only).",
		set: boolFlag(func(s *settings) *bool { return &s.NoUnacked })},
	// A web application that has nothing to do over night is not gone: hence a day, where workers, which beat, have minutes.
	{name: "purge-idle-client-metrics", initial: "86400", help: "Seconds after which the series of a host are removed that is no worker and sent no task. 0: never.",
		set: duration(0, func(s *settings) *time.Duration { return &s.PurgeClientsAfter })},
	{name: "native-histograms", isSwitch: true, help: "Add native histograms to the classic ones, for scrapers that ask for protobuf.",
		set: boolFlag(func(s *settings) *bool { return &s.Series.Native })},
	// With the default buckets a label set is 42 series and about 1 KiB, so the default allows 12,000 of them: 600 names on 20
	// workers, say.
	{name: "max-series", initial: "500000", help: "Limit of the series of tasks. What is beyond is counted under \"overflow\".",
		set: number(1, math.MaxInt32, func(s *settings) *int { return &s.Series.MaxSeries })},
	// The peer remembers 10,000 tasks, finished ones among them, and counts the rest of a backlog under the name None.
	{name: "max-tasks", initial: "250000", help: "Limit of the unfinished tasks that are remembered, about 110 bytes each.",
		set: number(1, math.MaxInt32/2, func(s *settings) *int { return &s.MaxTasks })},
	// A task name of 1 MB made each of the peer's answers 14 MB.
	{name: "max-label-length", initial: "200", help: "Limit of the length of a label's value, in bytes.",
		set: number(16, 1<<16, func(s *settings) *int { return &s.MaxLabelLength })},
	// What Redis holds back by default for a subscriber that is slow (client-output-buffer-limit pubsub 32mb 8mb 60).
	{name: "max-backlog-bytes", initial: "33554432", help: "Limit of the messages that were read and not processed yet, in bytes. What is beyond is dropped and counted.",
		set: number(1<<16, math.MaxInt32, func(s *settings) *int { return &s.MaxBacklogBytes })},
}

// setTransport ignores what it does not know, with a warning: an application's options are passed on as a whole, and most
// are about things that an exporter does not do.
func setTransport(s *settings, v string) error {
	name, value, found := strings.Cut(v, "=")
	if !found {
		return errors.New("want NAME=VALUE")
	}
	known, err := s.Transport.Set(name, value)
	if !known {
		s.warn("--broker-transport-option %s: has no meaning here and is ignored", name)
	}
	return err
}

func duration(low time.Duration, store func(*settings) *time.Duration) func(*settings, string) error {
	return func(s *settings, text string) error {
		span, err := seconds(text)
		if err == nil && span < low {
			err = fmt.Errorf("want at least %s", low)
		}
		*store(s) = span
		return err
	}
}
