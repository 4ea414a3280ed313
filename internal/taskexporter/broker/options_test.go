// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/internal/brokerurl"
)

// certificate writes a certificate for a name that signs itself, and returns the files of it and of
// its key.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: public}, "tls.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
}

// serveTLS accepts connections with a certificate, and asks clients for one.
func serveTLS(t *testing.T, cert, key string) (address string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer connection.Close()
				_ = connection.(*tls.Conn).Handshake() // how it ends is seen at the other side
			}()
		}
	}()
	return listener.Addr().String()
}

func TestWhatTLSVerifies(t *testing.T) {
	cert, key := certificate(t, "broker.shop")
	other, _ := certificate(t, "broker.shop")
	address := serveTLS(t, cert, key)
	tests := map[string]struct {
		values map[string]string
		fails  string // part of the error, empty for none
	}{
		"authority and name": {map[string]string{"ca_certs": cert, "server_hostname": "broker.shop"}, ""},
		"with a certificate of its own": {
			map[string]string{"ca_certs": cert, "server_hostname": "broker.shop", "certfile": cert, "keyfile": key}, "",
		},
		"prefixed as in URLs": {
			map[string]string{"ssl_ca_certs": cert, "ssl_server_hostname": "broker.shop", "ssl_cert_reqs": "required"}, "",
		},
		"another name":              {map[string]string{"ca_certs": cert, "server_hostname": "other"}, "not other"},
		"the address as a name":     {map[string]string{"ca_certs": cert}, "127.0.0.1"},
		"name not checked":          {map[string]string{"ca_certs": cert, "check_hostname": "false"}, ""},
		"name not checked, foreign": {map[string]string{"ca_certs": other, "check_hostname": "False"}, "certificate"},
		"another authority":         {map[string]string{"ca_certs": other, "server_hostname": "broker.shop"}, "certificate"},
		"the system's authorities":  {map[string]string{"server_hostname": "broker.shop"}, "certificate"},
		"nothing checked":           {map[string]string{"cert_reqs": "CERT_NONE"}, ""},
		"nothing checked, Python's": {map[string]string{"cert_reqs": "ssl.CERT_NONE"}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			config, err := TLSConfig(brokerurl.Address{TLS: true}, tc.values)
			if err != nil {
				t.Fatal(err)
			}
			connection, _, err := connect(t.Context(), "tcp", address, config, time.Second)
			if err == nil {
				connection.Close()
			}
			if failed := err != nil; failed != (tc.fails != "") || failed && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("error = %v, want %q", err, tc.fails)
			}
		})
	}
}

func TestBadTLSOptionsAreRefused(t *testing.T) {
	cert, key := certificate(t, "x")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, values := range map[string]map[string]string{
		"no certificate in PEM format":       {"ca_certs": text},
		"read ca_certs":                      {"ca_certs": text + "x"},
		"certfile and keyfile: want both":    {"certfile": cert},
		"read certfile and keyfile":          {"certfile": cert, "keyfile": text},
		"cert_reqs: want one of 0, 1, 2":     {"cert_reqs": "maybe"},
		"check_hostname: want true or false": {"check_hostname": "maybe", "keyfile": key, "certfile": cert},
	} {
		if _, err := TLSConfig(brokerurl.Address{}, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error = %v, want %q", values, err, want)
		}
	}
	if config, err := TLSConfig(brokerurl.Address{}, nil); config != nil || err != nil {
		t.Errorf("without any option: %v, %v", config, err)
	}
	address, err := brokerurl.Parse("rediss://h?ssl_cert_reqs=none")
	if err != nil {
		t.Fatal(err)
	}
	if config, err := TLSConfig(address, nil); err != nil || !config.InsecureSkipVerify {
		t.Errorf("options of the URL: %+v, %v", config, err)
	}
}

func TestTransportOptions(t *testing.T) {
	got := DefaultOptions()
	for _, option := range [][2]string{
		{"global_keyprefix", `"quoted:"`}, {"master_name", "m"}, {"sep", "|"}, {"unacked_key", "u"},
		{"fanout_prefix", "shop-{db}:"}, {"login_method", "external"}, {"fanout_patterns", "0"},
		{"priority_steps", "[0, 5]"}, {"sentinel_kwargs", `{"username": "n", "password": "p"}`},
	} {
		if known, err := got.Set(option[0], option[1]); !known || err != nil {
			t.Errorf("%s: known %v, error %v", option[0], known, err)
		}
	}
	want := Options{
		KeyPrefix: "quoted:", MasterName: "m", Separator: "|", UnackedKey: "u", PrioritySteps: []int{0, 5}, SentinelUser: "n",
		SentinelPassword: "p",
		FanoutPrefix:     "shop-{db}:", Exchange: "celeryev", ControlExchange: "celery", LoginMethod: "EXTERNAL",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFanoutPrefixNamesTheChannel(t *testing.T) {
	for value, want := range map[string]string{
		"": "k:/3.celeryev", "True": "k:/3.celeryev", "false": "k:celeryev", "0": "k:celeryev", "shop": "k:shopceleryev",
		`"a{db}-"`: "k:a3-celeryev",
	} {
		options := DefaultOptions()
		options.KeyPrefix = "k:"
		if value != "" {
			if known, err := options.Set("fanout_prefix", value); !known || err != nil {
				t.Fatal(known, err)
			}
		}
		b := &redisBroker{address: brokerurl.Address{Database: 3}, options: options}
		if got := b.channel("celeryev"); got != want {
			t.Errorf("%q: channel %q, want %q", value, got, want)
		}
	}
}

func TestSentinelsHaveTLSOfTheirOwnIfAskedFor(t *testing.T) {
	cert, _ := certificate(t, "sentinel.shop")
	for value, want := range map[string]struct{ own, tls bool }{
		`{"password": "p"}`: {}, `{"ssl": false, "ssl_ca_certs": "/missing"}`: {own: true},
		`{"ssl": true}`: {own: true, tls: true},
		`{"ssl": true, "ssl_ca_certs": "` + cert + `", "socket_timeout": 1}`: {own: true, tls: true},
	} {
		options := DefaultOptions()
		if _, err := options.Set("sentinel_kwargs", value); err != nil {
			t.Fatal(err)
		}
		if options.SentinelOwnTLS != want.own || (options.SentinelTLS != nil) != want.tls {
			t.Errorf("%s: own %v, TLS %v, want %+v", value, options.SentinelOwnTLS, options.SentinelTLS, want)
		}
	}
	options := DefaultOptions()
	if _, err := options.Set("sentinel_kwargs", `{"ssl": true, "ssl_ca_certs": "/missing"}`); err == nil {
		t.Error("a file that is not there was accepted")
	}
}

func TestTLSOptionsOfPythonOnlyAreIgnored(t *testing.T) {
	values := map[string]string{"ssl_ciphers": "x", "ssl_min_version": "771", "cert_reqs": "none"}
	if got := IgnoredTLSOptions(values); strings.Join(got, " ") != "ssl_ciphers ssl_min_version" {
		t.Errorf("ignored: %q", got)
	}
	if config, err := TLSConfig(brokerurl.Address{}, map[string]string{"ssl_ciphers": "x"}); config == nil || err != nil {
		t.Errorf("TLS %v, error %v, want it on, as any option does", config, err)
	}
}

func TestBadTransportOptionsAreRefused(t *testing.T) {
	got := DefaultOptions()
	for name, value := range map[string]string{
		"fanout_patterns": "maybe", "login_method": "secret", "priority_steps": "[]", "sentinel_kwargs": "secret",
	} {
		known, err := got.Set(name, value)
		if !known || err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: known %v, error %v", name, known, err)
		}
	}
	if known, err := got.Set("visibility_timeout", "1"); known || err != nil {
		t.Errorf("an option without a meaning here: known %v, error %v", known, err)
	}
}
