// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"obstack.dev/obstack/internal/brokerurl"
)

// Options are kombu's transport options, as far as they change what is on the wire.
type Options struct {
	// KeyPrefix is put before every key and channel on Redis (global_keyprefix).
	KeyPrefix string
	// MasterName is the service that sentinels are asked for (master_name).
	MasterName string
	// SentinelUser and SentinelPassword log in to the sentinels themselves (sentinel_kwargs).
	SentinelUser, SentinelPassword string
	// FanoutPrefix is put before the channels of fanout exchanges, {db} standing for the database.
	FanoutPrefix string
	// FanoutPatterns puts the routing key into the channel. On by default, as in kombu.
	FanoutPatterns bool
	// PrioritySteps and Separator name the sub-queues of priorities on Redis.
	PrioritySteps []int
	Separator     string
	// UnackedKey is the hash of messages delivered and not acknowledged.
	UnackedKey string
	// Exchange is Celery's event_exchange, ControlExchange its control_exchange.
	Exchange, ControlExchange string
	// Handover is the name of the group of exporters that take over from each other, empty for
	// none.
	Handover string
	// LoginMethod is empty for RabbitMQ's PLAIN, or EXTERNAL (login_method): the client's
	// certificate says who it is.
	LoginMethod string
	// SentinelOwnTLS is set if sentinel_kwargs say whether the sentinels speak TLS; SentinelTLS are
	// those settings then, nil for none. Kombu takes none without them; here it is the master's,
	// because a password must not go over the wire in plain text for want of an option.
	SentinelOwnTLS bool
	SentinelTLS    *tls.Config
}

// defaultFanoutPrefix is what kombu takes for fanout_prefix=True.
const defaultFanoutPrefix = "/{db}."

// DefaultOptions are kombu's.
func DefaultOptions() Options {
	return Options{
		FanoutPrefix: defaultFanoutPrefix, FanoutPatterns: true, PrioritySteps: []int{0, 3, 6, 9}, Separator: "\x06\x16",
		UnackedKey: "unacked", Exchange: "celeryev", ControlExchange: "celery",
	}
}

// transportSetters are the options that change names on the wire.
var transportSetters = map[string]func(*Options, string) error{
	"global_keyprefix": func(o *Options, v string) error { o.KeyPrefix = v; return nil },
	"master_name":      func(o *Options, v string) error { o.MasterName = v; return nil },
	"sep":              func(o *Options, v string) error { o.Separator = v; return nil },
	"unacked_key":      func(o *Options, v string) error { o.UnackedKey = v; return nil },
	"fanout_prefix":    func(o *Options, v string) error { o.setFanoutPrefix(v); return nil },
	"fanout_patterns":  func(o *Options, v string) (err error) { o.FanoutPatterns, err = parseBool(v); return err },
	"priority_steps": func(o *Options, v string) error {
		if json.Unmarshal([]byte(v), &o.PrioritySteps) != nil || len(o.PrioritySteps) == 0 || len(o.PrioritySteps) > 256 {
			return errors.New("want a list of 1 to 256 numbers, such as [0,3,6,9]")
		}
		return nil
	},
	"sentinel_kwargs": (*Options).setSentinel,
	"login_method": func(o *Options, v string) error {
		if !slices.Contains([]string{"PLAIN", "AMQPLAIN", "EXTERNAL"}, strings.ToUpper(v)) {
			return errors.New("want PLAIN, AMQPLAIN or EXTERNAL")
		}
		o.LoginMethod = strings.ToUpper(v)
		return nil
	},
}

func (o *Options) setFanoutPrefix(value string) {
	on, err := parseBool(value)
	switch {
	case err != nil:
		o.FanoutPrefix = value
	case on:
		o.FanoutPrefix = defaultFanoutPrefix
	default:
		o.FanoutPrefix = ""
	}
}

// setSentinel reads the arguments that kombu gives to the client of the sentinels: the login, and
// ssl with its options.
func (o *Options) setSentinel(value string) error {
	var arguments map[string]any
	if json.Unmarshal([]byte(value), &arguments) != nil {
		return errors.New(`want JSON such as {"username": "...", "ssl": true, "ssl_ca_certs": "/ca.crt"}`)
	}
	o.SentinelUser, _ = arguments["username"].(string)
	o.SentinelPassword, _ = arguments["password"].(string)
	on, given := arguments["ssl"].(bool)
	if o.SentinelOwnTLS = given; !on {
		return nil
	}
	values := map[string]string{}
	for name, value := range arguments {
		if name, isTLS := strings.CutPrefix(name, "ssl_"); isTLS && slices.Contains(tlsNames, name) {
			values[name] = fmt.Sprint(value)
		}
	}
	var err error
	o.SentinelTLS, err = TLSConfig(brokerurl.Address{TLS: true}, values)
	return err
}

// Set sets one transport option by its name in kombu and reports whether it means anything here.
// JSON strings may be quoted or not, as with the peer.
func (o *Options) Set(name, value string) (known bool, err error) {
	set, known := transportSetters[name]
	if !known {
		return false, nil
	}
	// Helm charts and operators quote what they pass on, and the peer reads values as JSON first.
	var quoted string
	if json.Unmarshal([]byte(value), &quoted) == nil {
		value = quoted
	}
	if err := set(o, value); err != nil {
		return true, fmt.Errorf("transport option %s: %w", name, err)
	}
	return true, nil
}

func parseBool(text string) (bool, error) {
	value, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, errors.New("want true or false")
	}
	return value, nil
}

// tlsNames are the options of Python's ssl module that have a meaning here; the URL's are prefixed
// with ssl_.
var tlsNames = []string{"ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname", "server_hostname"}

// IgnoredTLSOptions returns the names that have a meaning in Python only, such as ssl_ciphers,
// sorted.
func IgnoredTLSOptions(values map[string]string) []string {
	var ignored []string
	for name := range values {
		if !slices.Contains(tlsNames, strings.TrimPrefix(name, "ssl_")) {
			ignored = append(ignored, name)
		}
	}
	slices.Sort(ignored)
	return ignored
}

// TLSConfig returns the TLS settings of an address and of the --broker-ssl-option values, nil for
// none. It reads the files, so that an unreadable one is refused at start.
func TLSConfig(address brokerurl.Address, values map[string]string) (*tls.Config, error) {
	set := map[string]string{}
	for _, name := range tlsNames {
		if v := address.Query.Get("ssl_" + name); v != "" {
			set[name] = v
		}
	}
	for name, value := range values {
		if name = strings.TrimPrefix(name, "ssl_"); slices.Contains(tlsNames, name) {
			set[name] = value
		}
	}
	if !address.TLS && len(set)+len(values) == 0 {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: set["server_hostname"]}
	if err := loadCertificates(config, set); err != nil {
		return nil, err
	}
	return config, verification(config, set)
}

// loadCertificates reads the authority and the client's pair. TLS 1.2 is the least that Celery's
// own libraries offer today.
func loadCertificates(config *tls.Config, set map[string]string) error {
	if file := set["ca_certs"]; file != "" {
		// Read once: an authority changes with a new configuration, where a certificate is renewed
		// every few weeks.
		pem, err := os.ReadFile(file) // #nosec G304 -- whoever starts the exporter names the file.
		if err != nil {
			return fmt.Errorf("read ca_certs: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca_certs %s: no certificate in PEM format", file)
		}
	}
	if (set["certfile"] == "") != (set["keyfile"] == "") {
		return errors.New("certfile and keyfile: want both or none")
	}
	if set["certfile"] != "" {
		// Read anew for each connection, so that a rotated certificate is used without a restart.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(set["certfile"], set["keyfile"])
			return &pair, err
		}
		if _, err := load(); err != nil {
			return fmt.Errorf("read certfile and keyfile: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return nil
}

// requirements are the values of cert_reqs: names of Python's ssl module and of redis-py, and the
// module's numbers.
var requirements = map[string]bool{
	"CERT_NONE": false, "none": false, "0": false,
	"CERT_OPTIONAL": true, "optional": true, "1": true, "CERT_REQUIRED": true, "required": true, "2": true, "": true,
}

// verification applies cert_reqs and check_hostname. Go has no check of the chain without the name,
// so that is done here.
func verification(config *tls.Config, set map[string]string) error {
	verify, known := requirements[strings.TrimPrefix(set["cert_reqs"], "ssl.")]
	if !known {
		return fmt.Errorf("cert_reqs: want one of %s", strings.Join(slices.Sorted(maps.Keys(requirements))[1:], ", "))
	}
	checkName := true
	if set["check_hostname"] != "" {
		var err error
		if checkName, err = parseBool(set["check_hostname"]); err != nil {
			return fmt.Errorf("check_hostname: %w", err)
		}
	}
	// Go's own verification is all or nothing. What it is asked to skip here is done in
	// VerifyConnection, if it is wanted.
	config.InsecureSkipVerify = !verify || !checkName
	if verify && !checkName {
		config.VerifyConnection = verifyChain(config)
	}
	return nil
}

func verifyChain(config *tls.Config) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		// Without roots of our own these are the system's, as when Go verifies by itself. The name
		// is what is not looked at.
		options := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		for _, certificate := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(certificate)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}
