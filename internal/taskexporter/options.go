// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/common/model"
	"github.com/prometheus/exporter-toolkit/web"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/series"
)

// Options are everything that can be set. The zero value is not usable: see ParseOptions.
type Options struct {
	// Address, Transport and TLS say where the broker is and how to speak to it. TLS is nil for
	// none.
	Address   brokerurl.Address `kong:"-"`
	Transport broker.Options    `kong:"-"`
	TLS       *tls.Config       `kong:"-"`
	// Listen is the host:port that metrics are served on.
	Listen   string        `kong:"-"`
	LogLevel slog.Level    `kong:"-"`
	Series   series.Config `kong:"-"`
	// Version is the program's.
	Version string `kong:"-"`
	// Warnings are about settings that were accepted for the peer's sake and do nothing.
	Warnings []string `kong:"-"`

	// WebConfigFile is a web configuration of Prometheus' exporter-toolkit, read anew for each
	// connection.
	WebConfigFile string `name:"web.config.file"`

	// The peer looks at these two times only when it is scraped, and by the worker's clock: one
	// that is ten minutes behind is never seen, one that is ahead lives too long. Here a timer
	// looks, by our own clock.
	WorkerTimeout time.Duration `default:"300"`
	PurgeAfter    time.Duration `name:"purge-offline-worker-metrics" default:"600"`
	// In a fleet of pods that come and go each host name is a set of new series: 2,000 client pods
	// made 200,000 of the peer's.
	GenericClientHost bool `name:"generic-hostname-task-sent-metric"`
	GenericWorkerHost bool `name:"generic-hostname-worker-task-metric"`
	// Hostname is what the label of that name shows in all series.
	Hostname HostLabel `enum:"worker,node,none" default:"worker"`
	// Queues are learnt from workers and from task-sent. What neither names is not known: in Redis
	// an empty queue does not even exist, so nothing can be listed.
	Queues []string `short:"Q"`
	// Celery's own default queue. The only event that names the queue is the client's task-sent,
	// which is off by default.
	DefaultQueue string `name:"default-queue-name" default:"celery"`

	// Off by default, because it changes what workers do for all who listen, and costs each of them
	// a message a step.
	EnableEvents bool
	// A question reaches every worker and each replies, so they are rare, and a scrape never asks
	// one.
	InspectInterval time.Duration `default:"30"`
	QueueInterval   time.Duration `default:"10"`
	// Each needs permissions of the broker's user, which docs/reference/task-exporter.md lists.
	NoInspect, NoQueueLengths, NoUnacked bool
	// A web application that has nothing to do over night is not gone: hence a day, where workers,
	// which beat, have minutes.
	PurgeClientsAfter time.Duration `name:"purge-idle-client-metrics" default:"86400"`
	// The peer stores 10,000 tasks, finished ones among them, and counts the rest of a backlog
	// under the name None.
	MaxTasks int `default:"250000"`
	// A task name of 1 MB made each of the peer's responses 14 MB.
	MaxLabelLength int `default:"200"`
	// What Redis holds back by default for a subscriber that is slow (client-output-buffer-limit
	// pubsub 32mb 8mb 60).
	MaxBacklogBytes int `default:"33554432"`
}

// checkNumbers refuses what is out of range.
func (a *arguments) checkNumbers() error {
	for _, number := range []struct {
		option           string
		value, low, high int
	}{
		{"port", a.Port, 0, math.MaxUint16}, {"max-series", a.MaxSeries, 1, math.MaxInt32},
		{"max-tasks", a.MaxTasks, 1, math.MaxInt32 / 2},
		{"max-label-length", a.MaxLabelLength, 16, 1 << 16}, {"max-backlog-bytes", a.MaxBacklogBytes, 1 << 16, math.MaxInt32},
	} {
		if number.value < number.low || number.value > number.high {
			return fmt.Errorf("--%s: want a number from %d to %d", number.option, number.low, number.high)
		}
	}
	for option, interval := range map[string]time.Duration{
		"inspect-interval": a.InspectInterval, "queue-interval": a.QueueInterval,
	} {
		if interval < time.Second {
			return fmt.Errorf("--%s: want at least 1s", option)
		}
	}
	if a.InspectInterval < broadcastGap {
		a.warn("--inspect-interval: workers are asked once in %v at most", broadcastGap)
	}
	if a.EnableEvents && a.NoInspect {
		return errors.New("--enable-events: needs questions to workers, which --no-inspect leaves out")
	}
	if a.PurgeAfter == 0 {
		a.PurgeClientsAfter, a.Series.MaxIdle = 0, 0 // "never" is meant for all
	}
	if err := web.Validate(a.WebConfigFile); err != nil {
		return fmt.Errorf("--web.config.file: %w", err)
	}
	// The host may stand in brackets or not.
	a.Listen = net.JoinHostPort(strings.Trim(a.Host, "[]"), strconv.Itoa(a.Port))
	return nil
}

func (a *arguments) setQueues() error {
	for i, queue := range a.Queues {
		a.Queues[i] = strings.TrimSpace(queue)
	}
	a.Queues = slices.DeleteFunc(a.Queues, func(queue string) bool { return queue == "" })
	return nil
}

func (a *arguments) setLabels() error {
	if !model.LegacyValidation.IsValidMetricName(a.MetricPrefix + "x") {
		return errors.New("--metric-prefix: want letters, digits, underscores and colons")
	}
	for _, text := range a.StaticLabel {
		label, err := parseStaticLabel(text)
		// Prometheus refuses a whole scrape in which one series has a label twice.
		if err == nil && slices.ContainsFunc(a.Series.Static, func(other series.Label) bool {
			return other.Name == label.Name
		}) {
			err = fmt.Errorf("the label %q is given twice", label.Name)
		}
		if err != nil {
			return fmt.Errorf("--static-label: %w", err)
		}
		a.Series.Static = append(a.Series.Static, label)
	}
	return nil
}

// maxBuckets bounds a histogram, and with it what one label set costs.
const maxBuckets = 200

// Default buckets are the peer's: those of the Python client for runtimes, and wider ones for
// waits. In seconds.
const (
	runtimeBuckets = "0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1.0,2.5,5.0,7.5,10.0,inf"
	waitBuckets    = "0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,120,300,600,1800,inf"
)

// buckets are ascending upper bounds; +Inf may be written and is always there.
type buckets []float64

// Decode implements kong.MapperValue, and not encoding.TextUnmarshaler, because kong takes slices
// apart by itself.
func (b *buckets) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("bounds", &text); err != nil {
		return err
	}
	bounds, err := parseBuckets(text)
	*b = bounds
	return err
}

func parseBuckets(text string) ([]float64, error) {
	var bounds []float64
	for part := range strings.SplitSeq(text, ",") {
		bound, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || math.IsNaN(bound) {
			return nil, fmt.Errorf("%q is not a number", part)
		}
		bounds = append(bounds, bound)
	}
	// The peer's default ends in inf, which every histogram has anyway.
	bounds = slices.DeleteFunc(bounds, func(bound float64) bool { return math.IsInf(bound, 1) })
	if len(bounds) == 0 || len(bounds) > maxBuckets {
		return nil, fmt.Errorf("want 1 to %d finite bounds", maxBuckets)
	}
	for i := 1; i < len(bounds); i++ {
		if bounds[i] <= bounds[i-1] {
			return nil, errors.New("the bounds do not ascend")
		}
	}
	return bounds, nil
}

// reservedLabels are in use by the exporter's own metrics.
var reservedLabels = []string{
	"name", "hostname", "queue_name", "exception", "le", "type", "reason", "task_events", "question",
	"connection", "version", "goversion", "quantile",
}

func parseStaticLabel(text string) (series.Label, error) {
	name, value, found := strings.Cut(text, "=")
	if !found || !model.LegacyValidation.IsValidLabelName(name) || strings.HasPrefix(name, "__") {
		return series.Label{}, fmt.Errorf("%q: want name=value, the name of letters, digits and underscores", text)
	}
	if slices.Contains(reservedLabels, name) {
		return series.Label{}, fmt.Errorf("the label %q is in use by the exporter itself", name)
	}
	return series.Label{Name: name, Value: strings.ToValidUTF8(value, "\uFFFD")}, nil
}

// levels are the names that the peer accepts.
var levels = map[string]slog.Level{
	"TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "SUCCESS": slog.LevelInfo,
	"WARNING": slog.LevelWarn, "WARN": slog.LevelWarn, "ERROR": slog.LevelError, "CRITICAL": slog.LevelError,
}

// level is a name of a level, in any case.
type level struct{ slog.Level }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *level) UnmarshalText(text []byte) (err error) {
	var known bool
	if l.Level, known = levels[strings.ToUpper(string(text))]; !known {
		return errors.New("want DEBUG, INFO, WARNING or ERROR")
	}
	return nil
}

// decodeSeconds reads a duration as the peer does, a number of seconds; Go's form, such as 5m, is
// accepted too.
func decodeSeconds(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("seconds", &text); err != nil {
		return err
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil && number >= 0 && number < 1e9 {
		target.SetInt(int64(number * float64(time.Second)))
		return nil
	}
	span, err := time.ParseDuration(text)
	if err != nil || span < 0 {
		return errors.New("want a number of seconds, or a duration such as 5m")
	}
	target.SetInt(int64(span))
	return nil
}

// parseSwitch reads the variable of a switch as the peer's parser does.
func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "t", "true", "y", "yes", "on":
		return true, nil
	case "0", "f", "false", "n", "no", "off":
		return false, nil
	}
	return false, errors.New("want true or false")
}
