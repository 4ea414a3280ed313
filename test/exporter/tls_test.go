// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/integration"
)

func TestRedisOverTLSWithAClientCertificate(t *testing.T) {
	parts(t)
	dir := t.TempDir()
	certificates(t, dir)
	port := freePort(t)
	startRedis(t, 0, "--tls-port", fmt.Sprint(port), "--tls-cert-file", filepath.Join(dir, "tls.pem"), "--tls-key-file",
		filepath.Join(dir, "tls.key"),
		"--tls-ca-cert-file", filepath.Join(dir, "ca.pem"), "--tls-auth-clients", "yes")
	eventually(t, "redis listens", func() bool { return integration.Listens(port) })
	broker := fmt.Sprintf("rediss://127.0.0.1:%d/0", port)
	e := startReady(t, broker, sslOptions(dir)...)
	secure := map[string]any{"ssl_ca_certs": filepath.Join(dir, "ca.pem"), "ssl_certfile": filepath.Join(dir, "tls.pem"),
		"ssl_keyfile": filepath.Join(dir, "tls.key"), "ssl_cert_reqs": "required"}
	sentWith(t, e, broker, map[string]any{"broker_use_ssl": secure})

	// TLS comes in records of at most 16 KiB, which must not slow the reading down. Not all at
	// once, because Redis 7 may end a TLS connection whose reader is late ("bad length"): that
	// would test the server.
	const many, portion = 60_000, 2_000
	began := time.Now()
	publisher := redisOverTLS(t, port, dir)
	for sent := portion; sent <= many; sent += portion {
		burst(t, publisher, portion)
		eventually(t, fmt.Sprint(sent, " events are counted"), func() bool {
			return e.counts("celery_exporter_events")["{task-started}"] == float64(sent)
		})
	}
	// A pause of 50 ms after each record would be 48 s.
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("%d events over TLS took %v, as if there was a pause after each record", many, took)
	}
	e.becomes("celery_exporter_events", map[string]float64{"{task-sent}": 2, "{task-started}": many})

	refused := start(t, broker) // without the CA
	time.Sleep(time.Second)
	if refused.status("/ready") == 200 {
		t.Error("a server of an unknown authority was trusted")
	}
}

// TestSentinelsSpeakTLSAsTheMasterDoes, unless sentinel_kwargs say otherwise.
func TestSentinelsSpeakTLSAsTheMasterDoes(t *testing.T) {
	parts(t)
	dir := t.TempDir()
	certificates(t, dir)
	master, secure, plain := freePort(t), freePort(t), freePort(t)
	files := []string{
		"--tls-cert-file", dir + "/tls.pem", "--tls-key-file", dir + "/tls.key", "--tls-ca-cert-file", dir + "/ca.pem",
	}
	startRedis(t, 0, append(files, "--tls-port", fmt.Sprint(master))...)
	for port, settings := range map[int][]string{
		secure: {"--port", "0", "--tls-port", fmt.Sprint(secure)}, plain: {"--port", fmt.Sprint(plain)},
	} {
		conf := fmt.Sprintf("%s/%d.conf", dir, port)
		text := fmt.Sprintf("bind 127.0.0.1\ntls-replication yes\nsentinel monitor mymaster 127.0.0.1 %d 1\n", master)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{"redis-server", conf, "--sentinel"}, files...), settings...)
		run(t, fmt.Sprint("sentinel ", port), nil, args...)
		eventually(t, "the sentinel listens", func() bool { return integration.Listens(port) })
	}
	with := func(port int, kwargs string) *running {
		args := append(sslOptions(dir), "--broker-transport-option", "master_name=mymaster")
		if kwargs != "" {
			args = append(args, "--broker-transport-option", "sentinel_kwargs="+kwargs)
		}
		return start(t, fmt.Sprintf("sentinel://127.0.0.1:%d/0", port), args...)
	}
	with(secure, "").ready()
	with(plain, `{"ssl": false}`).ready()
	refused := with(plain, "")
	eventually(t, "the log says what to do", func() bool {
		return bytes.Contains(refused.output(), []byte("one without TLS needs"))
	})
	if refused.status("/ready") == 200 {
		t.Error("a sentinel was asked without TLS")
	}
}

// redisOverTLS is a client with the certificate in a folder, for what the test does to the server.
func redisOverTLS(t *testing.T, port int, dir string) *redis.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(dir+"/tls.pem", dir+"/tls.key")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(dir + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := redis.NewClient(&redis.Options{
		Addr:      fmt.Sprintf("127.0.0.1:%d", port),
		TLSConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// sslOptions are the arguments that name the certificates in a folder.
func sslOptions(dir string) []string {
	var args []string
	for _, option := range []string{
		"ca_certs=" + dir + "/ca.pem", "certfile=" + dir + "/tls.pem", "keyfile=" + dir + "/tls.key",
		"cert_reqs=CERT_REQUIRED",
	} {
		args = append(args, "--broker-ssl-option", option)
	}
	return args
}

func TestRabbitMQOverTLSWithAClientCertificate(t *testing.T) {
	server := newRabbit(t)
	dir := t.TempDir()
	certificates(t, dir)
	server.Settings = []string{
		fmt.Sprintf("listeners.ssl.default = 127.0.0.1:%d", server.TLSPort),
		"ssl_options.cacertfile = " + dir + "/ca.pem", "ssl_options.certfile = " + dir + "/tls.pem",
		"ssl_options.keyfile = " + dir + "/tls.key",
		"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true",
	}
	server.start(t)
	broker := fmt.Sprintf("amqps://guest:guest@127.0.0.1:%d/shop", server.TLSPort)
	e := startReady(t, broker, sslOptions(dir)...)
	// The client publishes without TLS: what is tested is how the exporter hears of it, and reads
	// the queue.
	sentWith(t, e, server.URL("shop"), map[string]any{})

	all := map[string]*running{
		"without the authority": start(t, broker),
		"without a certificate": start(t, broker, "--broker-ssl-option", "ca_certs="+dir+"/ca.pem"),
		"expecting another name": start(t, broker,
			append(sslOptions(dir), "--broker-ssl-option", "server_hostname=other")...),
		"plain, to the port that has TLS": start(t, fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/shop", server.TLSPort)),
	}
	for name, refused := range all {
		eventually(t, name+": the refusal is counted", func() bool {
			return refused.one("celery_exporter_broker_errors_total") >= 1
		})
		if refused.status("/ready") == 200 {
			t.Errorf("%s: ready", name)
		}
	}
	unchecked := startReady(t, broker, append(sslOptions(dir), "--broker-ssl-option", "server_hostname=other",
		"--broker-ssl-option", "check_hostname=false")...)
	if got := unchecked.one("celery_exporter_broker_up"); got != 1 {
		t.Errorf("without a check of the name: broker up = %v", got)
	}
}

// TestRabbitMQLoginByCertificate: SASL EXTERNAL, without a password anywhere.
func TestRabbitMQLoginByCertificate(t *testing.T) {
	server := newRabbit(t)
	dir := t.TempDir()
	certificates(t, dir)
	server.Plugins = []string{"rabbitmq_auth_mechanism_ssl"}
	server.Settings = []string{
		fmt.Sprintf("listeners.ssl.default = 127.0.0.1:%d", server.TLSPort),
		"ssl_options.cacertfile = " + dir + "/ca.pem", "ssl_options.certfile = " + dir + "/tls.pem",
		"ssl_options.keyfile = " + dir + "/tls.key",
		"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true",
		"auth_mechanisms.1 = EXTERNAL", "auth_mechanisms.2 = PLAIN", "ssl_cert_login_from = common_name",
	}
	server.start(t)
	broker := fmt.Sprintf("amqps://127.0.0.1:%d/shop", server.TLSPort)
	external := append(sslOptions(dir), "--broker-transport-option", "login_method=EXTERNAL")
	refused := start(t, broker, external...)
	eventually(t, "a certificate of nobody is refused", func() bool {
		return bytes.Contains(refused.output(), []byte("username or password not allowed"))
	})
	if refused.status("/ready") == 200 {
		t.Error("ready without a user")
	}
	refused.terminate()
	server.ctl(t, "add_user", "broker", "not used") // the certificate's common name
	server.ctl(t, "set_permissions", "-p", "shop", "broker", ".*", ".*", ".*")
	e := startReady(t, broker, external...)
	sentWith(t, e, server.URL("shop"), map[string]any{})
	if list := server.ctl(t, "list_connections", "user", "auth_mechanism"); !strings.Contains(list, "broker\tEXTERNAL") {
		t.Errorf("connections:\n%s", list)
	}
}

// certificates writes an authority, and a certificate of it for 127.0.0.1, for servers and clients.
func certificates(t *testing.T, dir string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey := key(t)
	writeCertificate(t, filepath.Join(dir, "ca.pem"), authority, authority, authorityKey, authorityKey)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: authority.NotBefore,
		NotAfter:    authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafKey := key(t)
	writeCertificate(t, filepath.Join(dir, "tls.pem"), leaf, authority, leafKey, authorityKey)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "tls.key"), "PRIVATE KEY", der)
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeCertificate(t *testing.T, path string, certificate, parent *x509.Certificate, own, signer *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, &own.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path, "CERTIFICATE", der)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
