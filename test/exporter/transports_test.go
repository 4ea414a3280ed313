// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"obstack.dev/obstack/test/realparts"
)

// sentWith publishes a task with a configuration of transport and events, and expects it to be heard of.
func sentWith(t *testing.T, e *running, broker string, conf map[string]any) {
	t.Helper()
	conf["task_send_sent_event"] = true
	c := celery{t, "celery-newest", broker, conf}
	c.publish(order{"proj.ok", 2, map[string]any{"queue": "emails"}})
	e.becomes("celery_task_", 20*time.Second, map[string]float64{"sent{proj.ok,emails}": 2})
	e.becomes("celery_queue_length", 20*time.Second, map[string]float64{"{emails}": 2})
}

func TestTransportOptionsOfRedis(t *testing.T) {
	parts(t)
	tests := map[string]struct {
		args []string
		conf map[string]any
	}{
		"global_keyprefix": {[]string{"--broker-transport-option", "global_keyprefix=pfx:"},
			map[string]any{"broker_transport_options": map[string]any{"global_keyprefix": "pfx:"}}},
		"fanout_patterns": {[]string{"--broker-transport-option", "fanout_patterns=false"},
			map[string]any{"broker_transport_options": map[string]any{"fanout_patterns": false}}},
		"fanout_prefix": {[]string{"--broker-transport-option", "fanout_prefix=false"},
			map[string]any{"broker_transport_options": map[string]any{"fanout_prefix": false}}},
		"event_exchange": {[]string{"--event-exchange", "myev"}, map[string]any{"event_exchange": "myev"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			startRedis(t, port)
			broker := fmt.Sprintf("redis://127.0.0.1:%d/2", port)
			sentWith(t, startReady(t, broker, tc.args...), broker, tc.conf)
		})
	}
}

func TestRedisOverASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.sock")
	startRedis(t, 0, "--unixsocket", path)
	eventually(t, "redis listens", 10*time.Second, func() bool { _, err := os.Stat(path); return err == nil })
	broker := "redis+socket://" + path + "?virtual_host=1"
	sentWith(t, startReady(t, broker), broker, map[string]any{})
}

func TestSentinel(t *testing.T) {
	master, sentinel := freePort(t), freePort(t)
	startRedis(t, master)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 %d 1\n", sentinel, master)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "sentinel", nil, "redis-server", conf, "--sentinel")
	eventually(t, "the sentinel listens", 10*time.Second, func() bool { return realparts.Listens(sentinel) })
	broker := fmt.Sprintf("sentinel://127.0.0.1:%d/0;sentinel://127.0.0.1:%d/0", freePort(t), sentinel)
	e := startReady(t, broker, "--broker-transport-option", "master_name=mymaster")
	sentWith(t, e, fmt.Sprintf("redis://127.0.0.1:%d/0", master), map[string]any{})
}

func TestTLSWithAClientCertificate(t *testing.T) {
	parts(t)
	dir := t.TempDir()
	certificates(t, dir)
	port := freePort(t)
	startRedis(t, 0, "--tls-port", fmt.Sprint(port), "--tls-cert-file", filepath.Join(dir, "tls.pem"), "--tls-key-file", filepath.Join(dir, "tls.key"),
		"--tls-ca-cert-file", filepath.Join(dir, "ca.pem"), "--tls-auth-clients", "yes")
	eventually(t, "redis listens", 10*time.Second, func() bool { return realparts.Listens(port) })
	broker := fmt.Sprintf("rediss://127.0.0.1:%d/0", port)
	e := startReady(t, broker,
		"--broker-ssl-option", "ca_certs="+filepath.Join(dir, "ca.pem"), "--broker-ssl-option", "certfile="+filepath.Join(dir, "tls.pem"),
		"--broker-ssl-option", "keyfile="+filepath.Join(dir, "tls.key"), "--broker-ssl-option", "cert_reqs=CERT_REQUIRED")
	tls := map[string]any{"ssl_ca_certs": filepath.Join(dir, "ca.pem"), "ssl_certfile": filepath.Join(dir, "tls.pem"),
		"ssl_keyfile": filepath.Join(dir, "tls.key"), "ssl_cert_reqs": "required"}
	sentWith(t, e, broker, map[string]any{"broker_use_ssl": tls})

	stranger := start(t, broker) // without the CA
	time.Sleep(time.Second)
	if stranger.status("/ready") == 200 {
		t.Error("a server of an unknown authority was trusted")
	}
}

// certificates writes an authority, and a certificate of it for 127.0.0.1, for servers and clients.
func certificates(t *testing.T, dir string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey := key(t)
	writeCertificate(t, filepath.Join(dir, "ca.pem"), authority, authority, authorityKey, authorityKey)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
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
