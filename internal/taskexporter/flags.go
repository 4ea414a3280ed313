// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
)

// arguments is the command line. Its options have the names, defaults and units of the peer
// (danihodovic/celery-exporter, src/cli.py), because people keep their arguments when they change
// the image. Where Prometheus or Celery demand something, it is said beside the option.
type arguments struct {
	BrokerURL             string   `name:"broker-url"`
	BrokerTransportOption []string `sep:"none" placeholder:"NAME=VALUE"`
	BrokerSSLOption       []string `name:"broker-ssl-option" sep:"none" placeholder:"NAME=VALUE"`
	// The peer passes this on to kombu, which needs it to read pickles. Reading a pickle runs what
	// is in it, and anyone who may publish can send one; so what is read is fixed.
	AcceptContent []string `sep:"none"`
	// With the peer's default, 0, any error of the broker ends the process, and its counters are
	// gone.
	RetryInterval *time.Duration
	// All addresses, as with the peer: in a pod, nobody could ask for metrics at the loopback
	// alone.
	Host             string   `default:"0.0.0.0"`
	Port             int      `default:"9808"`
	Buckets          buckets  `default:"${runtime_buckets}"`
	QueueWaitBuckets buckets  `default:"${wait_buckets}"`
	MetricPrefix     string   `default:"celery_"`
	StaticLabel      []string `sep:"none" placeholder:"NAME=VALUE"`
	// A wrong name gives silence and no error: whatever exchange is named can be subscribed to.
	EventExchange    string `default:"celeryev"`
	ControlExchange  string `default:"celery"`
	Handover         string
	LogLevel         level `default:"INFO"`
	NativeHistograms bool
	// With the default buckets a label set is 42 series and about 1 KiB, so the default allows
	// 9,500 of them: 475 names on 20 workers, say.
	MaxSeries int `default:"500000"`
	// A task that runs once a week is not gone, so this is longer than a week.
	PurgeIdleTaskMetrics time.Duration `default:"1209600"`

	Options `embed:""`
}

// ErrHelp is returned by ParseOptions after it printed the help that was asked for.
var ErrHelp = errors.New("help was asked for")

// ParseOptions reads arguments and environment; an argument wins over its variable. An error names
// the option and says what it accepts.
func ParseOptions(args []string, getenv func(string) string, help io.Writer) (*Options, error) {
	a, helped := &arguments{}, false
	parser, err := kong.New(a,
		kong.Name("task-exporter"), kong.Writers(help, io.Discard),
		kong.Exit(func(int) { helped = true }),
		kong.Description("Celery's events as Prometheus metrics. Brokers: "+brokerurl.Accepted+
			". The password for the sentinels themselves is in "+EnvSentinelPassword+" only."),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeSeconds)),
		kong.Resolvers(environment(getenv)),
		kong.Vars{"runtime_buckets": runtimeBuckets, "wait_buckets": waitBuckets},
		kong.ValueFormatter(describe))
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(args)
	switch {
	case helped:
		return nil, ErrHelp
	case err != nil:
		return nil, refusal(err)
	}
	// Arguments are shown to everybody who may read a Pod, so this one has no option.
	return a.finish(getenv(EnvSentinelPassword))
}

// EnvSentinelPassword is the variable with the password for the sentinels themselves. It wins over
// the one in sentinel_kwargs.
const EnvSentinelPassword = "CE_SENTINEL_PASSWORD"

// describe is an option's line in the help.
func describe(option *kong.Value) string {
	if option.Name == "help" {
		return option.Help
	}
	return helpTexts[option.Name] + " ($" + variable(option.Name) + ")"
}

// variable of an option, named as the peer names it.
func variable(option string) string {
	return "CE_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(option))
}

// environment sets options by their variables. An empty one is as good as none: charts set all of
// them, used or not. Options that may be repeated are separated by spaces, as with the peer.
func environment(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		text := getenv(variable(flag.Name))
		switch {
		case text == "" || flag.Name == "help":
			return nil, nil
		case flag.IsBool():
			return parseSwitch(text)
		case flag.IsSlice() && flag.Tag.Sep == -1:
			var values []any
			for word := range strings.FieldsSeq(text) {
				values = append(values, word)
			}
			return values, nil
		}
		return text, nil
	})
}

var optionName = regexp.MustCompile(`^unknown flag --?[a-zA-Z.-]+(,|$)`)

// refusal keeps what looks like a URL with a password out of the parser's errors.
func refusal(err error) error {
	text := err.Error()
	unknown := strings.HasPrefix(text, "unknown flag") && !optionName.MatchString(text)
	if unknown || strings.HasPrefix(text, "unexpected argument") {
		return errors.New("an argument is no option; --help lists all")
	}
	return err
}

// finish judges what only shows when everything is read.
func (a *arguments) finish(sentinelPassword string) (*Options, error) {
	a.Options.LogLevel = a.LogLevel.Level
	a.Series.RuntimeBuckets, a.Series.WaitBuckets = a.Buckets, a.QueueWaitBuckets
	a.Series.Prefix, a.Series.Native, a.Series.MaxSeries = a.MetricPrefix, a.NativeHistograms, a.MaxSeries
	a.Series.MaxIdle = a.PurgeIdleTaskMetrics
	if len(a.AcceptContent) > 0 {
		a.warn("--accept-content: JSON, MessagePack and YAML are read, whatever is set here")
	}
	if a.RetryInterval != nil {
		a.warn("--retry-interval: the exporter always reconnects, with pauses of its own")
	}
	for _, step := range []func() error{a.checkNumbers, a.setQueues, a.setLabels, a.setTransport} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	// A Secret that was made from a file ends as the file does.
	if password := strings.TrimRight(sentinelPassword, "\r\n"); password != "" {
		a.Transport.SentinelPassword = password
	}
	return &a.Options, a.setBroker()
}

// handoverName is part of the names of channels and queues.
var handoverName = regexp.MustCompile(`^[A-Za-z0-9._-]{0,200}$`)

// setTransport ignores what it does not know, with a warning: an application's options are passed
// on as a whole, and most are about things that an exporter does not do.
func (a *arguments) setTransport() error {
	a.Transport = broker.DefaultOptions()
	a.Transport.Exchange, a.Transport.ControlExchange = a.EventExchange, a.ControlExchange
	if a.Transport.Handover = a.Handover; !handoverName.MatchString(a.Handover) {
		return errors.New("--handover: want letters, digits, dots, underscores and dashes")
	}
	for _, option := range a.BrokerTransportOption {
		name, value, found := strings.Cut(option, "=")
		if !found {
			return errors.New("--broker-transport-option: want NAME=VALUE")
		}
		known, err := a.Transport.Set(name, value)
		if err != nil {
			return fmt.Errorf("--broker-transport-option: %w", err)
		}
		if !known {
			a.warn("--broker-transport-option %s: has no meaning here and is ignored", name)
		}
	}
	return nil
}

// setBroker reads the URL.
func (a *arguments) setBroker() (err error) {
	if a.BrokerURL == "" {
		return fmt.Errorf("--broker-url (CE_BROKER_URL) is missing; accepted are %s", brokerurl.Accepted)
	}
	if a.Address, err = brokerurl.Parse(a.BrokerURL); err != nil {
		return fmt.Errorf("--broker-url: %w; accepted are %s", err, brokerurl.Accepted)
	}
	if a.Address.Kind == brokerurl.Sentinel && a.Transport.MasterName == "" {
		return errors.New("--broker-url: sentinel:// needs --broker-transport-option master_name=NAME")
	}
	// Kombu takes what stands behind the question mark for arguments of the connection.
	if method := a.Address.Query.Get("login_method"); method != "" {
		if _, err := a.Transport.Set("login_method", method); err != nil {
			return fmt.Errorf("--broker-url: %w", err)
		}
	}
	return a.setTLS()
}

// setTLS reads the files that TLS needs.
func (a *arguments) setTLS() (err error) {
	values := map[string]string{}
	for _, option := range a.BrokerSSLOption {
		name, value, found := strings.Cut(option, "=")
		if !found {
			return errors.New("--broker-ssl-option: want NAME=VALUE")
		}
		values[name] = value
	}
	for _, name := range broker.IgnoredTLSOptions(values) {
		a.warn("--broker-ssl-option %s: has no meaning here and is ignored", name)
	}
	if a.TLS, err = broker.TLSConfig(a.Address, values); err != nil {
		return fmt.Errorf("--broker-ssl-option: %w", err)
	}
	if a.Transport.LoginMethod == "EXTERNAL" && (a.TLS == nil || a.TLS.GetClientCertificate == nil) {
		return errors.New("login_method EXTERNAL needs --broker-ssl-option certfile=FILE and keyfile=FILE")
	}
	return nil
}

// warn notes that a setting does nothing here.
func (a *arguments) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...))
}
