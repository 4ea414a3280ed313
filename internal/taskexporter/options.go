// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/series"
)

// Options are everything that can be set. The zero value is not usable: see ParseOptions.
type Options struct {
	// Address, Transport and TLS say where the broker is and how to speak to it. TLS is nil for none.
	Address   brokerurl.Address
	Transport broker.Options
	TLS       *tls.Config
	// Listen is the host:port that metrics are served on.
	Listen   string
	LogLevel slog.Level

	// WorkerTimeout is after which silence a worker is lost; PurgeAfter, after which its series go; PurgeClientsAfter,
	// after which those of a host go that only sent tasks. Zero turns each off.
	WorkerTimeout, PurgeAfter, PurgeClientsAfter time.Duration
	// GenericClientHost and GenericWorkerHost put "generic" in place of host names in the series of tasks.
	GenericClientHost, GenericWorkerHost bool
	// Queues are shown even if no worker consumes them; DefaultQueue is the name where none is known.
	Queues       []string
	DefaultQueue string

	Series series.Config
	// MaxTasks bounds the unfinished tasks remembered, MaxLabelLength label values in bytes, and MaxBacklogBytes the
	// messages read and not processed.
	MaxTasks, MaxLabelLength, MaxBacklogBytes int

	// InspectInterval is how often workers are asked, QueueInterval how often depths are read.
	InspectInterval, QueueInterval time.Duration
	// EnableEvents tells workers without task events to send them.
	EnableEvents bool
	// NoInspect, NoQueueLengths and NoUnacked leave questions out, and with them the permissions that they need.
	NoInspect, NoQueueLengths, NoUnacked bool

	// Version is the program's.
	Version string
	// Warnings are about settings that were accepted for the peer's sake and do nothing.
	Warnings []string
}

// Default buckets are the peer's: those of the Python client for runtimes, and wider ones for waits. In seconds.
const (
	defaultBuckets     = "0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1.0,2.5,5.0,7.5,10.0,inf"
	defaultWaitBuckets = "0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,120,300,600,1800,inf"
)

// maxBuckets bounds a histogram, and with it what one label set costs.
const maxBuckets = 200

// parseBuckets reads ascending upper bounds; +Inf may be written and is always there.
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
var reservedLabels = []string{"name", "hostname", "queue_name", "exception", "le", "type", "reason", "task_events", "question", "connection", "version", "goversion", "quantile"}

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

func parseLevel(text string) (slog.Level, error) {
	level, known := levels[strings.ToUpper(text)]
	if !known {
		return 0, errors.New("want DEBUG, INFO, WARNING or ERROR")
	}
	return level, nil
}

// seconds reads a duration as the peer does, a number of seconds; Go's form, such as 5m, is accepted too.
func seconds(text string) (time.Duration, error) {
	if number, err := strconv.ParseFloat(text, 64); err == nil && number >= 0 && number < 1e9 {
		return time.Duration(number * float64(time.Second)), nil
	}
	if span, err := time.ParseDuration(text); err == nil && span >= 0 {
		return span, nil
	}
	return 0, errors.New("want a number of seconds, or a duration such as 5m")
}

// listen joins host and port, either of which may stand in brackets or not.
func listen(host string, port int) (string, error) {
	if port < 0 || port > 65535 {
		return "", errors.New("want a port from 0 to 65535")
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)), nil
}
