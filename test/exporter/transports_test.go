// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/integration"
)

// sentWith publishes a task with a configuration of transport and events, and expects it to be
// heard of.
func sentWith(t *testing.T, e *running, broker string, conf map[string]any) {
	t.Helper()
	conf["task_send_sent_event"] = true
	c := celery{t, "celery-newest", broker, conf}
	c.publish(order{"proj.ok", 2, map[string]any{"queue": "emails"}})
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,emails}": 2})
	e.becomes("celery_queue_length", map[string]float64{"{emails}": 2})
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
	eventually(t, "redis listens", func() bool { _, err := os.Stat(path); return err == nil })
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
	eventually(t, "the sentinel listens", func() bool { return integration.Listens(sentinel) })
	broker := fmt.Sprintf("sentinel://127.0.0.1:%d/0;sentinel://127.0.0.1:%d/0", freePort(t), sentinel)
	e := startReady(t, broker, "--broker-transport-option", "master_name=mymaster")
	sentWith(t, e, fmt.Sprintf("redis://127.0.0.1:%d/0", master), map[string]any{})

	replica := freePort(t)
	startRedis(t, replica, "--replicaof", "127.0.0.1", fmt.Sprint(master))
	asked := redis.NewSentinelClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", sentinel)})
	defer asked.Close()
	// The sentinel finds the replica by asking the master each ten seconds.
	eventually(t, "the sentinel makes the replica the master", func() bool {
		return asked.Failover(t.Context(), "mymaster").Err() == nil
	})
	eventually(t, "the exporter follows", func() bool { return e.one("celery_exporter_reconnects_total") >= 1 })
	e.ready()
	e.hears(redisAt(t, replica, ""))
}
