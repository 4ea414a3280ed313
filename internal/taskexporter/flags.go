// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
)

// flagSpec is one option of the command line and of the environment.
type flagSpec struct {
	name, short string
	// initial is the default; help says what the option is for.
	initial, help string
	// isSwitch options need no value; repeats may be given several times, and in the environment separated by spaces.
	isSwitch, repeats bool
	set               func(*settings, string) error
}

// Env is the variable that sets the option, named as the peer names it.
func (f flagSpec) env() string { return "CE_" + strings.ToUpper(strings.ReplaceAll(f.name, "-", "_")) }

// settings are options while they are being read, with what can only be judged together.
type settings struct {
	Options
	brokerURL string
	tlsValues map[string]string
	host      string
	port      int
}

// ErrHelp is returned by ParseOptions after it printed the help that was asked for.
var ErrHelp = errors.New("help was asked for")

// ParseOptions reads arguments and environment; an argument wins over its variable. An error names the option and says
// what it accepts.
func ParseOptions(args []string, getenv func(string) string, help io.Writer) (*Options, error) {
	s := &settings{Options: Options{Transport: broker.DefaultOptions()}, tlsValues: map[string]string{}}
	given, err := parseArguments(args)
	if errors.Is(err, ErrHelp) {
		printHelp(help)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	for _, f := range flagSpecs {
		values, source := given[f.name], "--"+f.name
		if values == nil {
			// An empty variable is as good as none: charts set all of them, used or not.
			if text := getenv(f.env()); text != "" {
				values, source = f.split(text), f.env()
			} else if f.initial != "" {
				values = []string{f.initial}
			}
		}
		for _, value := range values {
			if err := f.set(s, value); err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
		}
	}
	// Arguments are shown to everybody who may read a Pod, so this one has no option.
	if password := getenv(EnvSentinelPassword); password != "" {
		s.Transport.SentinelPassword = password
	}
	return s.finish()
}

// EnvSentinelPassword is the variable with the password for the sentinels themselves. It wins over the one in sentinel_kwargs.
const EnvSentinelPassword = "CE_SENTINEL_PASSWORD"

func (f flagSpec) split(text string) []string {
	if f.repeats {
		return strings.Fields(text)
	}
	return []string{text}
}

// parseArguments collects the values of each option: --name value, --name=value, -Q value, -Qvalue.
func parseArguments(args []string) (map[string][]string, error) {
	given := map[string][]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		f, value, attached, err := lookUp(arg)
		if err != nil {
			return nil, err
		}
		switch {
		case attached:
		case f.isSwitch:
			value = "true"
		case len(args) == 0:
			return nil, fmt.Errorf("%s: a value is missing: %s", arg, f.help)
		default:
			value, args = args[0], args[1:]
		}
		// The last of several wins, as in Python's click, which the peer uses.
		if !f.repeats {
			given[f.name] = nil
		}
		given[f.name] = append(given[f.name], value)
	}
	return given, nil
}

// lookUp finds the option of one argument, and the value if it is attached to it.
func lookUp(arg string) (f flagSpec, value string, attached bool, err error) {
	if arg == "--help" || arg == "-h" {
		return f, "", false, ErrHelp
	}
	name, value, attached := strings.Cut(arg, "=")
	for _, f := range flagSpecs {
		if name == "--"+f.name || f.short != "" && name == "-"+f.short {
			return f, value, attached, nil
		}
		if f.short != "" && strings.HasPrefix(arg, "-"+f.short) {
			return f, arg[2:], true, nil
		}
	}
	return f, "", false, unknownArgument(name)
}

// unknownArgument names an argument only if it looks like an option, and not like a URL with a password.
func unknownArgument(name string) error {
	if !optionName.MatchString(name) {
		return errors.New("an argument that is no option; --help lists all")
	}
	return fmt.Errorf("unknown option %s; --help lists all", name)
}

var optionName = regexp.MustCompile(`^--?[a-zA-Z-]+$`)

// finish judges what only shows when everything is read.
func (s *settings) finish() (*Options, error) {
	if s.brokerURL == "" {
		return nil, fmt.Errorf("--broker-url (CE_BROKER_URL) is missing; accepted are %s", brokerurl.Accepted)
	}
	var err error
	if s.Address, err = brokerurl.Parse(s.brokerURL); err != nil {
		return nil, fmt.Errorf("--broker-url: %w; accepted are %s", err, brokerurl.Accepted)
	}
	if s.Address.Kind == brokerurl.Sentinel && s.Transport.MasterName == "" {
		return nil, errors.New("--broker-url: sentinel:// needs --broker-transport-option master_name=NAME")
	}
	if s.TLS, err = broker.TLSConfig(s.Address, s.tlsValues); err != nil {
		return nil, fmt.Errorf("--broker-ssl-option: %w", err)
	}
	if s.Listen, err = listen(s.host, s.port); err != nil {
		return nil, fmt.Errorf("--port: %w", err)
	}
	if s.EnableEvents && s.NoInspect {
		return nil, errors.New("--enable-events: needs questions to workers, which --no-inspect leaves out")
	}
	if s.PurgeAfter == 0 {
		s.PurgeClientsAfter = 0 // "never" is meant for all
	}
	return &s.Options, nil
}

// warn notes that a setting does nothing here.
func (s *settings) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

func printHelp(w io.Writer) {
	fmt.Fprintf(w, "obstack task exporter: Celery's events as Prometheus metrics.\n\nBrokers: %s.\n\nOptions:\n", brokerurl.Accepted)
	for _, f := range flagSpecs {
		name := "--" + f.name
		if f.short != "" {
			name = "-" + f.short + ", " + name
		}
		if !f.isSwitch {
			name += " VALUE"
		}
		if f.repeats {
			name += " (may be repeated)"
		}
		initial := ""
		if f.initial != "" && !f.isSwitch {
			initial = " Default: " + f.initial + "."
		}
		fmt.Fprintf(w, "  %s\n      %s%s Environment: %s.\n", name, f.help, initial, f.env())
	}
	fmt.Fprintf(w, "\nOnly in the environment: %s, the password for the sentinels themselves.\n", EnvSentinelPassword)
}

func number(low, high int, store func(*settings) *int) func(*settings, string) error {
	return func(s *settings, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return fmt.Errorf("want a number from %d to %d", low, high)
		}
		*store(s) = n
		return nil
	}
}

func boolFlag(store func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, text string) error {
		switch strings.ToLower(text) {
		case "1", "t", "true", "y", "yes", "on":
			*store(s) = true
		case "0", "f", "false", "n", "no", "off":
			*store(s) = false
		default:
			return errors.New("want true or false")
		}
		return nil
	}
}
